"""Settings that are True or False take nothing else: whatever counts as true in Python was meant otherwise."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from gossamer import rules
from gossamer.errors import ConfigError
from gossamer.rules import Rule

SETTINGS = [
    (kind, field.name)
    for kind in rules.rules.values()
    if kind.__module__.startswith("gossamer.")
    for field in fields(kind)
    if isinstance(field.default, bool)
]


def test_there_are_such_settings() -> None:
    """Else the others would say nothing."""
    assert ("grouplasso", "scaled") in [(kind.name, name) for kind, name in SETTINGS]


@pytest.mark.parametrize(("kind", "name"), SETTINGS)
@pytest.mark.parametrize("value", ["no", "maybe", None, 1, 0.0])
def test_only_true_and_false_are_taken(kind: type[Rule], name: str, value: Any) -> None:
    """From Python and from plain data, as configurations and ``--set`` have it."""
    with pytest.raises(ConfigError, match=rf"\({name}=\): expected True or False, got {value!r}"):
        kind(**{name: value})
    with pytest.raises(ConfigError, match=rf"\({name}=\): expected True or False"):
        rules.build({"name": kind.name, name: value})
    assert getattr(kind(**{name: True}), name) is True
