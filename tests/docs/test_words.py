"""Pages speak to a reader who has never seen the code: no word that only its authors understand."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from doc_pages import PAGES, ROOT, name_of

if TYPE_CHECKING:
    from pathlib import Path

READ = [page for page in PAGES if ROOT / "docs" / "decisions" not in page.parents]
PRIVATE = re.compile(r"\b(homes?|rooms?|nouns?|wings?|houses?|laws?|rides?|riding)\b", re.IGNORECASE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`]*`")
TARGET = re.compile(r"\]\([^)\s]*\)|\]\[[^\]]*\]|<!--.*?-->")
EMPTY_HEAD = re.compile(r"^\|(?:\s*\|)+[ ]*\n\|[ :|-]+\|[ ]*$|^\|\s*\|.*\n\|[ :|-]+\|[ ]*$", re.MULTILINE)


def prose(text: str) -> str:
    """What a reader reads of a page: no code and no targets of links."""
    return TARGET.sub("]", CODE.sub("", FENCE.sub("", text)))


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_pages_use_no_private_words(page: Path) -> None:
    lines = prose(page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in lines if PRIVATE.search(line)] == []


def test_prose_leaves_code_out_and_words_in() -> None:
    text = 'Two homes.\n```python\nhome = "packed"\n```\n`home=` is code, [a room](house.md) is not.\n'
    assert PRIVATE.findall(prose(text)) == ["homes", "room"]


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_first_columns_of_tables_have_a_head(page: Path) -> None:
    assert EMPTY_HEAD.findall(FENCE.sub("", page.read_text(encoding="utf-8"))) == []


def test_an_empty_head_is_found() -> None:
    assert EMPTY_HEAD.search("| | |\n|---|---|\n| a | b |\n")
    assert EMPTY_HEAD.search("|  | file |\n| --- | ---: |\n| a | 1 |\n")
    assert not EMPTY_HEAD.search("| pattern | file |\n| --- | ---: |\n|  | 1 |\n| --- | 2 |\n")


def test_the_readme_shows_what_its_example_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own page
    assert [line.rstrip() for line in printed.getvalue().splitlines()] == shown.splitlines()
