"""Run folders are read without being believed."""

from __future__ import annotations

import json

import pytest

from gossamer.errors import FormatError
from gossamer.report import read_run


def test_a_run_is_read_whole(make_run):
    run = read_run(make_run())
    assert (len(run.metrics), len(run.updates), len(run.pixels)) == (3, 4, 4)
    assert run.summary is not None
    assert run.summary.layers[0].density == 0.25
    assert run.speed is not None


def test_an_unfinished_run_is_read_as_far_as_it_goes(make_run):
    folder = make_run()
    for name in ("summary.json", "speed.json", "topology.jsonl"):
        (folder / name).unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    run = read_run(folder)
    assert (len(run.metrics), run.updates, run.summary) == (3, [], None)


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", ""),
        ("config.json", "[]"),
        ("config.json", '{"version": 2, "config": {}, "data": {}}'),
        ("metrics.jsonl", '{"epoch": 1}\n'),
        ("metrics.jsonl", "NaN\n"),
        ("topology.jsonl", '{"step": -1}\n'),
        ("pixels.jsonl", '{"step": 0, "fan_out": ["x"]}\n'),
        ("summary.json", '{"accuracy": 2}'),
        ("summary.json", "[" * 100_000),
        ("speed.json", '{"bytes": -1}'),
    ],
)
def test_a_damaged_file_is_named(make_run, name, text):
    folder = make_run()
    (folder / name).write_text(text)
    with pytest.raises(FormatError, match=name.replace(".", r"\.")):
        read_run(folder)


def test_binary_is_refused(make_run):
    folder = make_run()
    (folder / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="UTF-8"):
        read_run(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, "high"])
def test_accuracy_is_a_share(make_run, value):
    folder = make_run()
    summary = json.loads((folder / "summary.json").read_text())
    summary["accuracy"] = value
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(FormatError):
        read_run(folder)
