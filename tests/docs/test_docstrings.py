"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections import Counter

import pytest
from doc_pages import NEEDS

import gossamer

MODULES = sorted(module.name for module in pkgutil.walk_packages(gossamer.__path__, "gossamer."))


@pytest.mark.parametrize("name", ["gossamer", *(m for m in MODULES if not m.endswith("__main__"))])
def test_docstring_examples_run(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path_factory.mktemp("docstrings"))
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_there_are_examples_in_every_room() -> None:
    """The test above looks at something."""
    finder = doctest.DocTestFinder()
    found = Counter(
        name.split(".")[1]
        for name in MODULES
        if not name.endswith(("__main__", "adapters.layer"))  # which is of no use without peft
        for test in finder.find(importlib.import_module(name))
        if test.examples
    )
    rooms = {name.split(".")[1] for name in MODULES} - {
        "__main__",
        "version",
        "bounds",
        "hardware",
        "needs_torch",
    }
    assert {room for room in rooms if not found[room]} == set()
