"""Rows that survive a kill."""

from __future__ import annotations

import pytest

from gossamer.errors import FormatError
from gossamer.runs.journal import Journal, write_json


def test_rows_after_the_step_and_a_torn_line_are_cut(tmp_path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"step": step, "x": 0.1 * step} for step in range(4))
    with journal.path.open("a") as file:
        file.write('{"step": 1, "x"')
    journal.cut(2)
    assert journal.path.read_text() == '{"step": 0, "x": 0.0}\n{"step": 1, "x": 0.1}\n{"step": 2, "x": 0.2}\n'


def test_cutting_what_is_not_there_makes_nothing(tmp_path):
    Journal(tmp_path / "a.jsonl").cut(3)
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"step": "x"}'])
def test_a_damaged_row_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(FormatError, match=r"a\.jsonl"):
        Journal(path).cut(3)


def test_not_a_number_is_not_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert len(list(tmp_path.iterdir())) == 1
