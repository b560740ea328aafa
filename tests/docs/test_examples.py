"""What the documentation shows runs: every Python block of every page, in order, in an empty folder."""

from __future__ import annotations

from doctest import ELLIPSIS
from typing import TYPE_CHECKING, Any

import pytest
from doc_pages import NEEDS, PAGES, ROOT, name_of
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)])


def examples(page: Path) -> list[Any]:
    return list(RUNNER.parse(page).examples())


def test_readme_and_pages_are_found() -> None:
    assert ROOT / "README.md" in PAGES
    assert sum(len(examples(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name_of)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(name_of(page), ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    for example in examples(page):
        example.evaluate()


def test_the_readme_example_is_short() -> None:
    """Ten statements or so; more is not a first example."""
    (source,) = (example.parsed for example in examples(ROOT / "README.md"))
    assert len(source.splitlines()) <= 16
