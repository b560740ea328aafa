"""Training with several processes: the run folder, resuming, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gossamer.runs.config import read_config
from gossamer.runs.folder import begin
from processes import run_ranks
from rank_programs import begin_together, joined_twice, many, run_member, unlike_run
from run_folders import contents, rows, same_bits

SHARED = {"data": "digits", "widths": [32, 16], "density": 0.25, "threads": 1, "epochs": 3, "batch": 32}
SHARED |= {"rule.name": "set", "rule.every": 10, "pattern": "unstructured", "dense_last": True}


def begun(folder: Path, **settings: object) -> str:
    """A run folder with a configuration."""
    begin(folder, read_config(None, SHARED | {f"parallel.{name}": value for name, value in settings.items()}))
    return str(folder)


def test_one_worker_and_a_server_are_one_process(tmp_path, call):
    """Without a second phase, bit for bit."""
    asynchronous = begun(tmp_path / "wasap", mode="wasap", workers=1, alone=0.0)
    in_step = begun(tmp_path / "ddp", mode="ddp", workers=1)
    summary, other = run_ranks(run_member, 2, asynchronous)
    assert isinstance(summary, dict), summary
    assert other is None
    (summary,) = run_ranks(run_member, 1, in_step)
    assert isinstance(summary, dict), summary
    flags = [item for name, value in SHARED.items() for item in ("--set", f"{name}={json.dumps(value)}")]
    call("train", *flags, "--out", tmp_path / "alone", "--quiet")
    for folder in (asynchronous, in_step):
        assert rows(Path(folder), "metrics.jsonl") == rows(tmp_path / "alone", "metrics.jsonl")
        assert rows(Path(folder), "topology.jsonl") == rows(tmp_path / "alone", "topology.jsonl")


@pytest.mark.parametrize("mode", ["ddp", "wassp"])
def test_a_run_in_step_goes_on_where_it_stopped(mode, tmp_path):
    whole, parts = (begun(tmp_path / name, mode=mode, workers=2) for name in ("whole", "parts"))
    answers = run_ranks(many, 2, run_member, [(whole,), (parts, 27), (parts,)])
    assert isinstance(answers[0][2], dict), answers
    assert same_bits(Path(whole) / "last.safetensors", Path(parts) / "last.safetensors")
    assert contents(Path(whole))[:3] == contents(Path(parts))[:3]


def test_a_run_with_a_server_averages_and_goes_on_where_it_stopped(tmp_path):
    folder = begun(tmp_path / "run", mode="wasap", workers=2)
    stopped, *workers = run_ranks(run_member, 3, folder, 40)
    assert "got a stop" in stopped
    assert all(worker.startswith("RankError") for worker in workers)
    summary, *workers = run_ranks(run_member, 3, folder)
    assert isinstance(summary, dict), summary
    assert workers == [None, None]
    assert summary["steps"] == 3 * 2 * 23  # 721 samples of each worker in batches of 32
    assert [row["epoch"] for row in rows(Path(folder), "metrics.jsonl")] == [1, 2, 3]
    connections = {
        row["connections"] for row in rows(Path(folder), "topology.jsonl") if row["layer"] == "fc1"
    }
    assert connections == {summary["layers"][0]["connections"]}
    assert summary["accuracy"] > 0.5


def test_a_worker_alone_goes_on_where_it_was(tmp_path):
    """Alone from step 92 on; stopped at 110, it goes on from its own checkpoint at 100: it never meets step 95."""
    whole, parts = (begun(tmp_path / name, mode="wasap", workers=1) for name in ("whole", "parts"))
    stopped, worker = run_ranks(run_member, 2, parts, 110)
    assert "got a stop" in worker
    assert stopped.startswith("RankError")
    (own,) = Path(parts).glob("worker-*")
    summary, worker = run_ranks(run_member, 2, parts, 95)
    assert isinstance(summary, dict), summary
    assert worker is None
    assert not own.exists()
    run_ranks(run_member, 2, whole)
    assert same_bits(Path(whole) / "last.safetensors", Path(parts) / "last.safetensors")
    assert contents(Path(whole))[:3] == contents(Path(parts))[:3]


def test_a_checkpoint_of_another_first_phase_is_not_taken(tmp_path):
    """A server that died before it wrote the end of the first phase ends it otherwise than its workers left it."""
    folder = begun(tmp_path / "run", mode="wasap", workers=1)
    run_ranks(run_member, 2, folder, 110)
    (Path(folder) / "last.safetensors").unlink()
    config = Path(folder) / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    _, worker = run_ranks(run_member, 2, folder, 95)
    assert "got a stop" in worker  # it began at 92


@pytest.mark.parametrize("alone", [0.0, 0.3])
def test_a_run_with_a_server_that_is_done_stays_as_it_is(alone, tmp_path):
    folder = begun(tmp_path / "run", mode="wasap", workers=2, alone=alone)
    first, *_ = run_ranks(run_member, 3, folder)
    again, *workers = run_ranks(run_member, 3, folder)
    assert isinstance(first, dict), first
    assert again == first
    assert workers == [None, None]


def test_rank_0_makes_the_run_folder_while_the_others_wait(tmp_path):
    settings = SHARED | {"parallel.workers": 2, "epochs": 1}
    summary, other = run_ranks(begin_together, 2, str(tmp_path / "run"), settings)
    assert isinstance(summary, dict), summary
    assert other is None


def test_a_run_that_was_refused_is_not_taken_up_at_the_restart(tmp_path):
    folder = begun(tmp_path / "run", mode="ddp", workers=1)
    (answers,) = run_ranks(joined_twice, 1, folder, SHARED | {"parallel.workers": 1, "epochs": 5})
    assert len(answers) == 2, answers
    for answer in answers:
        assert "expected a new folder, got a run" in answer


def test_another_number_of_processes_is_refused_on_all(tmp_path):
    folder = begun(tmp_path / "run", mode="ddp", workers=3)
    for answer in run_ranks(run_member, 2, folder):
        assert answer.startswith("ConfigError: train --mode ddp: expected 3 processes for 3 workers, got 2")


def test_runs_that_differ_are_refused_on_all(tmp_path):
    folder = begun(tmp_path / "run", mode="ddp", workers=2)
    ways = ["data", "configuration"]
    for answers in run_ranks(many, 2, unlike_run, [(folder, way) for way in ways]):
        for way, answer in zip(ways, answers, strict=True):
            assert answer.startswith("ConfigError: train: expected the same on every rank"), answer
            assert f"another {way} on rank 1 than on rank 0" in answer


def test_a_size_that_cannot_fit_is_refused_on_all_and_nothing_is_written(tmp_path):
    settings = SHARED | {"parallel.workers": 2, "widths": [1 << 20, 1 << 20], "density": 0.1}
    here, there = run_ranks(begin_together, 2, str(tmp_path / "run"), settings)
    assert here.startswith("MemoryShortage: sparsify: expected at most"), here
    assert there.startswith("RankError: open the run folder: expected success on every rank"), there
    assert not (tmp_path / "run").exists()


def test_rules_that_need_a_gradient_have_no_server(call, tmp_path):
    flags = ["--data", "digits", "--density", 0.25, "--workers", 2, "--mode", "wasap"]  # srigl by default
    answer = call("train", *flags, "--out", tmp_path / "run")
    assert answer.code == 2
    assert "grows at random" in answer.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_again_and_again_is_started_again(tmp_path):
    """The launcher starts all processes again, and they go on from the last checkpoint."""
    folder, epochs = tmp_path / "run", 40
    flags = [str(item) for name, value in SHARED.items() for item in ("--set", f"{name}={json.dumps(value)}")]
    flags += ["--set", f"epochs={epochs}", "--set", "parallel.restarts=3", "--checkpoint-every", "20"]
    command = [sys.executable, "-m", "gossamer", "train", *flags, "--out", str(folder)]
    command += ["--workers", "1", "--mode", "wasap", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for epoch in (1, 5, 14):
            while epochs_of(folder) < epoch and run.poll() is None:
                time.sleep(0.02)
            os.kill(processes_of(run.pid)[-1], signal.SIGKILL)
        out, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert json.loads(out)["steps"] == epochs * 46
    assert [row["epoch"] for row in rows(folder, "metrics.jsonl")] == [*range(1, 29), epochs]


def epochs_of(folder: Path) -> int:
    """Finished epochs that a run folder tells of."""
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def processes_of(launcher: int) -> list[int]:
    """Processes that a launcher started, by rank: children of the server that forks them."""
    return sorted(child for server in children(launcher) for child in children(server))


def children(parent: int) -> list[int]:
    """Processes that another one started, and that still run."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
