"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gossamer

MODULES = sorted(module.name for module in pkgutil.walk_packages(gossamer.__path__, "gossamer."))


@pytest.mark.parametrize("name", ["gossamer", *(m for m in MODULES if not m.endswith("__main__"))])
def test_docstring_examples_run(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("docstrings"))
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0
