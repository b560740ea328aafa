"""Training: the run folder, resuming, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from run_folders import contents, rows, same_bits

FILES = (
    "config.json",
    "metrics.jsonl",
    "topology.jsonl",
    "pixels.jsonl",
    "summary.json",
    "last.safetensors",
    "best.safetensors",
)
RUN = [
    "--data",
    "digits",
    "--widths",
    "32,16",
    "--density",
    "0.25",
    "--every",
    "10",
    "--threads",
    "1",
    "--quiet",
]


def test_a_run_folder_is_complete(finished):
    assert all((finished / name).is_file() for name in FILES)
    assert list((finished / "tensorboard").iterdir())
    assert len(rows(finished, "metrics.jsonl")) == 3
    assert [row["step"] for row in rows(finished, "pixels.jsonl")] == [0, 15, 30, 45]
    assert not list(finished.glob(".*.part"))


def test_json_is_the_summary(call, tmp_path):
    answer = call("train", *RUN, "--epochs", 1, "--out", tmp_path / "run", "--json")
    assert answer.document["run"] == str(tmp_path / "run")
    assert {"accuracy", "best", "epochs", "steps", "seconds", "layers"} <= answer.document.keys()
    assert answer.document["steps"] == 15
    assert {"name", "kind", "shape", "connections", "bytes", "flops", "active", "fan_in"} <= answer.document[
        "layers"
    ][0].keys()


def test_the_recorded_configuration_leaves_nothing_open(finished):
    config = json.loads((finished / "config.json").read_text())["config"]
    assert config["rule"] == {
        "name": "srigl",
        "every": 10,
        "drop": 0.3,
        "begin": 0,
        "until": 0.75,
        "gamma": 0.3,
    }
    assert config["threads"] == 1


def test_topology_rows_account_for_every_connection(finished):
    for row in rows(finished, "topology.jsonl"):
        assert row["dropped"] >= 0
        assert row["grown"] >= 0
    summary = json.loads((finished / "summary.json").read_text())
    last = {row["layer"]: row["connections"] for row in rows(finished, "topology.jsonl")}
    assert {layer["name"]: layer["connections"] for layer in summary["layers"]}.items() >= last.items()


def test_a_file_and_flags_together(call, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        'data = "digits"\nwidths = [16]\npattern = "nm:1:8"\nepochs = 5\n[rule]\nname = "rigl"\nevery = 5\n'
    )
    answer = call(
        "train",
        path,
        "--epochs",
        1,
        "--set",
        "rule.every=7",
        "--out",
        tmp_path / "run",
        "--threads",
        1,
        "--json",
    )
    assert answer.document["epochs"] == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["rule"]["every"] == 7


def test_a_dense_run(call, tmp_path):
    out = tmp_path / "run"
    arguments = [
        "--data",
        "digits",
        "--pattern",
        "dense",
        "--widths",
        "16",
        "--epochs",
        1,
        "--threads",
        1,
        "--out",
        out,
    ]
    assert call("train", *arguments).code == 0
    assert not (out / "topology.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--epochs", "-1"], 2, "epochs=-1"),
        (["--density", "7"], 2, "density"),
        (["--density", "0.00001"], 2, "density"),
        (["--rule", "magic"], 2, "expected one of"),
        (["--pattern", "tartan"], 2, "pattern"),
        (["--data", "nothing"], 2, "data set"),
        (["--data", "digits", "--data-root", "/no/such/folder"], 1, "folder"),
        (["--set", "colour"], 2, "name=value"),
        (["--set", "colour=red"], 2, "colour"),
        (["--widths", "wide"], 2, "widths"),
        (["--optimizer", "lion"], 2, "optimizer"),
        (["--pattern", "unstructured", "--rule", "srigl"], 2, "SRigL"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(call, tmp_path, flags, code, said):
    answer = call("train", *RUN, "--out", tmp_path / "run", *flags)
    assert (answer.code, answer.stdout) == (code, "")
    assert said in answer.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_a_usage_error(call, tmp_path):
    assert call("train", tmp_path / "none.toml").code == 2


def test_missing_data_says_where_it_looked(call, tmp_path, monkeypatch):
    monkeypatch.setenv("GOSSAMER_DATA", "")
    monkeypatch.setenv("GOSSAMER_CACHE", str(tmp_path))
    answer = call("train", *RUN, "--data", "cifar10-small", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "places searched" in answer.stderr
    assert answer.stderr.index("GOSSAMER_DATA") < answer.stderr.index("places searched")  # the remedy first


def test_an_existing_run_is_not_overwritten(call, finished, tmp_path):
    before = (finished / "metrics.jsonl").read_bytes()
    answer = call("train", *RUN, "--out", finished)
    assert answer.code == 2
    assert "--resume" in answer.stderr
    assert (finished / "metrics.jsonl").read_bytes() == before
    file = tmp_path / "file"
    file.write_text("mine")
    assert call("train", *RUN, "--out", file).code == 2
    assert file.read_text() == "mine"


def test_fresh_deletes_the_run_and_nothing_else(call, tmp_path):
    out = tmp_path / "run"
    assert call("train", *RUN, "--epochs", 2, "--out", out).code == 0
    (out / "notes.txt").write_text("mine")
    assert call("train", *RUN, "--epochs", 1, "--out", out, "--fresh").code == 0
    assert len(rows(out, "metrics.jsonl")) == 1
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        "tensorboard",
        "metrics.jsonl",
        "summary.json",
        "net.safetensors",
        "worker-1-0123456789abcdef.safetensors",
    ],
)
@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_foreign_files_under_the_names_of_a_run_are_refused_by_name(call, tmp_path, name, fresh):
    """In a folder without a run, with --fresh or without; a foreign config.json makes no run."""
    out = tmp_path / "project"
    (out / "tensorboard").mkdir(parents=True) if name == "tensorboard" else out.mkdir()
    path = out / "tensorboard" / "events.mine" if name == "tensorboard" else out / name
    path.write_text("mine")
    (out / "config.json").write_text('{"model_type": "bert"}')
    answer = call("train", *RUN, "--epochs", 1, "--out", out, *fresh)
    assert answer.code == 2
    assert name in answer.stderr
    assert "config.json" in answer.stderr
    assert path.read_text() == "mine"
    assert (out / "config.json").read_text() == '{"model_type": "bert"}'
    assert len(list(out.iterdir())) == 2


def test_fresh_keeps_foreign_events_and_what_links_point_to(call, tmp_path):
    """In a run's own folder of events, and behind a link that stands for a file of the run."""
    out, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    arguments = ("train", *RUN, "--epochs", 1, "--out", out)
    assert call(*arguments).code == 0
    own = {path.name for path in (out / "tensorboard").iterdir()}
    (out / "tensorboard" / "events.mine").write_text("mine")
    (out / "worker-notes.safetensors").write_text("mine")
    (out / "best.safetensors").rename(disk / "best.safetensors")
    (out / "best.safetensors").symlink_to(disk / "best.safetensors")
    assert call(*arguments, "--fresh").code == 0
    events = {path.name for path in (out / "tensorboard").iterdir()}
    assert "events.mine" in events
    assert not own & events
    assert (out / "worker-notes.safetensors").read_text() == "mine"
    assert (disk / "best.safetensors").is_file()


def test_fresh_in_a_folder_of_events_elsewhere(call, tmp_path):
    """A linked folder stays, with what is foreign in it."""
    out, disk = tmp_path / "run", tmp_path / "disk"
    arguments = ("train", *RUN, "--epochs", 1, "--out", out)
    assert call(*arguments).code == 0
    (out / "tensorboard").rename(disk)
    (disk / "mine").write_text("mine")
    (out / "tensorboard").symlink_to(disk)
    assert call(*arguments, "--fresh").code == 0
    assert (out / "tensorboard").is_symlink()
    assert len(list(disk.iterdir())) == 2
    assert (disk / "mine").read_text() == "mine"


def test_a_folder_where_a_file_of_the_run_was_is_refused(call, tmp_path):
    """Before anything of the old run is deleted."""
    out = tmp_path / "run"
    assert call("train", *RUN, "--epochs", 1, "--out", out).code == 0
    (out / "summary.json").unlink()
    (out / "summary.json").mkdir()
    (out / "summary.json" / "mine").write_text("mine")
    answer = call("train", *RUN, "--epochs", 1, "--out", out, "--fresh")
    assert (answer.code, "summary.json" in answer.stderr) == (2, True)
    assert (out / "metrics.jsonl").is_file()
    assert (out / "summary.json" / "mine").read_text() == "mine"


def test_fresh_with_a_bad_configuration_keeps_the_old_run(call, finished):
    assert call("train", *RUN, "--density", 7, "--out", finished, "--fresh").code == 2
    assert (finished / "summary.json").is_file()


def test_resuming_a_finished_run_changes_nothing(call, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    assert call("train", "--resume", copy).code == 0
    assert contents(copy) == contents(finished)
    assert same_bits(copy / "last.safetensors", finished / "last.safetensors")


def test_resume_takes_no_other_settings(call, finished):
    answer = call("train", "--resume", finished, "--lr", 1)
    assert answer.code == 2
    assert "no other settings" in answer.stderr


def test_resume_without_a_run(call, tmp_path):
    answer = call("train", "--resume", tmp_path)
    assert answer.code == 1
    assert "no run in" in answer.stderr


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "foreign"])
def test_a_corrupted_checkpoint_is_refused(call, finished, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    path = copy / "last.safetensors"
    whole = path.read_bytes()
    damaged = {"cut": whole[: len(whole) // 2], "garbage": b"\xff" * 1000, "empty": b""}
    if damage == "foreign":
        config = json.loads((copy / "config.json").read_text())
        config["config"]["widths"] = [64, 16]
        (copy / "config.json").write_text(json.dumps(config))
    else:
        path.write_bytes(damaged[damage])
    answer = call("train", "--resume", copy)
    assert answer.code == 1
    assert answer.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"version": 99}', '{"version": 1, "config": {"epochs": -1}, "data": {}}']
)
def test_a_damaged_run_folder_is_refused(call, finished, tmp_path, text):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "config.json").write_text(text)
    answer = call("train", "--resume", copy)
    assert answer.code in (1, 2)
    assert answer.stderr.startswith("error: ")


def test_other_data_than_it_began_with_is_refused(call, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    config = json.loads((copy / "config.json").read_text())
    config["data"]["sha256"] = "0" * 64
    (copy / "config.json").write_text(json.dumps(config))
    answer = call("train", "--resume", copy)
    assert answer.code == 1
    assert "other content" in answer.stderr


def test_a_diverging_training_says_so(call, tmp_path):
    answer = call("train", *RUN, "--epochs", 2, "--lr", "1e30", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "learning rate" in answer.stderr


DENSE_START = ["--pattern", "block:2", "--density", "1.0", "--rule", "ramp", "--every", "3"]


@pytest.mark.parametrize("extra", [["--set", "optimizer.weight_decay=0.001"], DENSE_START])
def test_a_run_stopped_in_an_epoch_resumes_with_the_same_bits(call, tmp_path, extra):
    """The stop is an exception in the middle of epoch 2; the checkpoint before it is two steps older."""
    from gossamer.runs.folder import begin, reopen
    from gossamer.runs.loop import Loop
    from gossamer.runs.recorder import Recorder

    class StopHereError(Exception):
        pass

    def stop_at(step):
        def told(loop, row):
            if loop.step == step:
                raise StopHereError

        return told

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = ["--epochs", 3, *extra]
    assert call("train", *RUN, *arguments, "--out", whole).code == 0
    config, samples = reopen(whole)
    begin(parts, config)
    for step in (7, 22, 30, 41):  # before any checkpoint of its own, in an epoch, at its end, in the last
        loop = Loop(config, samples)
        with pytest.raises(StopHereError):
            loop.run(Recorder(parts, loop, checkpoint_every=5, told=stop_at(step)))
        with (parts / "metrics.jsonl").open("a") as file:
            file.write('{"step": 44, "epo')  # torn by the kill
    assert call("train", "--resume", parts).code == 0
    assert contents(parts) == contents(whole)
    for name in ("last.safetensors", "best.safetensors"):
        assert same_bits(parts / name, whole / name)
    last = load_file(whole / "last.safetensors")
    held = sum(tensor.numel() for key, tensor in last.items() if key.endswith(".values"))
    assert held < 0.3 * (64 * 32 + 32 * 16 + 16 * 10)  # a file of what is left, also after a dense start


def test_a_killed_process_resumes_with_the_same_bits(call, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ["train", *RUN, "--checkpoint-every", "4", "--epochs", "12"]
    command = [sys.executable, "-m", "gossamer", *arguments]
    process = subprocess.Popen(
        [*command, "--out", killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 60
    while not (killed / "metrics.jsonl").is_file() and time.monotonic() < limit:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "summary.json").exists()
    assert call(*arguments, "--out", whole).code == 0
    assert call("train", "--resume", killed).code == 0
    assert contents(killed) == contents(whole)
    for name in ("last.safetensors", "best.safetensors"):
        assert same_bits(killed / name, whole / name)
