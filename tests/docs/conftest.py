"""Examples may register rules and patterns; other tests must not see them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gossamer.patterns import patterns
from gossamer.rules import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parent))  # `doc_pages` is importable here


@pytest.fixture(autouse=True)
def _registries_as_before() -> Iterator[None]:
    before = [(registry, dict(registry._entries)) for registry in (rules, patterns)]
    yield
    for registry, classes in before:
        registry._entries.clear()
        registry._entries.update(classes)
