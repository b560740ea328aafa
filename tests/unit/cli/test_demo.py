"""The demo, small."""

from __future__ import annotations

import pytest

from gossamer.cli.methods import methods

SMALL = ["--data", "digits", "--epochs", "1", "--json"]


@pytest.fixture(scope="module")
def demo(call, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, call("demo", *SMALL, "--out", folder)


def test_one_row_a_method_and_one_for_int8(demo):
    folder, answer = demo
    assert answer.code == 0, answer.stderr
    document = answer.document
    assert [row["method"] for row in document["rows"]] == [*methods("digits", 1442, 0, 1), "torch dense int8"]
    for row in document["rows"]:
        assert 0 <= row["accuracy"] <= 1
        assert row["bytes"] > 0
        assert row["seconds"].keys() == row["against_dense"].keys() == {"1", "256"}
    assert document["rows"][0]["against_dense"] == {"1": 1.0, "256": 1.0}
    assert (folder / "report.html").is_file()


def test_every_sparse_method_has_the_same_budget(demo):
    rows = {row["method"]: row["connections"] for row in demo[1].document["rows"]}
    dense = rows["dense"]
    for name in ("static", "set", "rigl", "srigl-nm"):
        assert rows[name] * 8 == dense
    assert 0.99 * dense <= rows["srigl"] * 8 <= dense  # ablation rounds the fan-in down


def test_a_second_call_trains_nothing(demo, call):
    folder, first = demo
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/last.safetensors")}
    second = call("demo", *SMALL, "--out", folder).document
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/last.safetensors")}
    assert [row["accuracy"] for row in second["rows"]] == [row["accuracy"] for row in first.document["rows"]]


def test_other_settings_in_the_same_folder_are_refused(demo, call):
    answer = call("demo", *SMALL, "--seed", 1, "--out", demo[0])
    assert answer.code == 2
    assert "--fresh" in answer.stderr


def test_the_table_is_for_people(demo):
    from rich.console import Console

    from gossamer.cli.commands.demo import _view

    console = Console(width=140)
    with console.capture() as capture:
        console.print(_view(demo[1].document))
    shown = capture.get()
    assert "SRigL, 1:8" in shown
    assert "report.html" in shown


@pytest.mark.parametrize(
    "flags",
    [["--epochs", "0"], ["--epochs", "-3"], ["--threads", "0"], ["--data", "nothing"], ["--seed", "-1"]],
)
def test_the_demo_refuses(call, tmp_path, flags):
    answer = call("demo", "--out", tmp_path / "demo", *flags)
    assert (answer.code, answer.stdout) == (2, "")
    assert not (tmp_path / "demo").exists()
