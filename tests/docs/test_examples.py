"""What the documentation shows runs: every Python block of every page, in order, in an empty folder."""

from __future__ import annotations

from doctest import ELLIPSIS
from pathlib import Path

import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RUNNER = Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)])


def examples(page: Path) -> list:
    return list(RUNNER.parse(page).examples())


def test_readme_and_pages_are_found() -> None:
    assert ROOT / "README.md" in PAGES
    assert sum(len(examples(page)) for page in PAGES) > 20


@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for example in examples(page):
        example.evaluate()
