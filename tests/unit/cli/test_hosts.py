"""Training over several hosts under torchrun; the hosts are network namespaces."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from gossamer.runs.config import read_config
from gossamer.runs.folder import begin
from hosts import network, why_not
from processes import run_ranks
from rank_programs import run_member
from run_folders import contents, rows, same_bits

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from hosts import Host

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reason := why_not()), reason=reason)]

PATIENCE = 300.0  # seconds: far beyond any time limit here, also beside the build of the C++ tests
SETTINGS = {
    "data": "digits",
    "widths": [32, 16],
    "density": 0.25,
    "threads": 1,
    "batch": 32,
    "dense_last": True,
}
SETTINGS |= {"rule.name": "set", "rule.every": 10, "pattern": "unstructured"}


def flags(**settings: Any) -> list[str]:
    """Settings as the command line takes them."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def start(
    hosts: list[Host], folder: Path, restarts: int = 0, **settings: Any
) -> list[subprocess.Popen[bytes]]:
    """One process on every host; what they say is in files named after their numbers."""
    words = [*flags(**SETTINGS, **settings), "--out", folder / "run", "--quiet", "--checkpoint-every", 20]
    logs = [folder / f"{host.number}.log" for host in hosts]
    return [
        host.torchrun(len(hosts), log, *words, restarts=restarts)
        for host, log in zip(hosts, logs, strict=True)
    ]


def said(folder: Path, number: int) -> str:
    """What a host's processes said."""
    return (folder / f"{number}.log").read_text()


def succeed(runs: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all are at their end."""
    for number, run in enumerate(runs):
        assert run.wait(PATIENCE) == 0, said(folder, number)


def until(ready: Callable[[], bool], runs: list[subprocess.Popen[bytes]]) -> None:
    """Wait while all of them run."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        assert all(run.poll() is None for run in runs), "a run ended too early"
        time.sleep(0.02)


def trained(folder: Path) -> bool:
    """Whether an epoch is over."""
    return (folder / "run" / "metrics.jsonl").is_file() and bool(rows(folder / "run", "metrics.jsonl"))


def test_a_killed_process_is_started_again_on_all_hosts_and_nothing_is_lost(tmp_path):
    in_step = {"epochs": 40, "parallel.workers": 2, "parallel.time_limit": 20}
    with network(2) as hosts:
        runs = start(hosts, tmp_path, restarts=3, **in_step)
        until(lambda: trained(tmp_path), runs)
        os.kill(hosts[1].member(), signal.SIGKILL)
        succeed(runs, tmp_path)
    assert "exitcode: -9" in said(tmp_path, 1)
    begin(tmp_path / "undisturbed", read_config(None, SETTINGS | in_step))
    run_ranks(run_member, 2, str(tmp_path / "undisturbed"))
    assert same_bits(tmp_path / "run" / "last.safetensors", tmp_path / "undisturbed" / "last.safetensors")
    assert contents(tmp_path / "run")[:3] == contents(tmp_path / "undisturbed")[:3]


def test_a_server_and_workers_on_three_hosts(tmp_path):
    with network(3) as hosts:
        settings = {"parallel.mode": "wasap", "parallel.workers": 2, "parallel.time_limit": 20}
        succeed(start(hosts, tmp_path, epochs=3, **settings), tmp_path)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["accuracy"] > 0.4


def test_a_link_that_goes_down_is_an_error_on_every_rank(tmp_path):
    """Of the ranks: the launcher of a host that is cut off may go on waiting for the others."""
    with network(2) as hosts:
        runs = start(hosts, tmp_path, epochs=10_000, **{"parallel.workers": 2, "parallel.time_limit": 15})
        until(lambda: trained(tmp_path), runs)
        hosts[1].unplug()
        until(lambda: not any(host.member() for host in hosts), [])
    for number, run in enumerate(runs):
        run.wait(PATIENCE)
        assert "error: parallel training: expected an answer from every rank" in said(tmp_path, number)
    assert load_file(tmp_path / "run" / "last.safetensors")
