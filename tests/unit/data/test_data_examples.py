"""Every example in the docstrings and in the guide runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import gossamer.data

GUIDE = Path(__file__).parents[3] / "docs" / "howto" / "data.md"
MODULES = [
    "gossamer.data",
    *(module.name for module in pkgutil.walk_packages(gossamer.data.__path__, "gossamer.data.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_guide_examples() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "data.md", str(GUIDE), 0)
    assert len(example.examples) > 5
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0
