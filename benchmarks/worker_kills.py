"""A training whose processes are killed twenty times, at random, beside trainings that nobody disturbs.

torchrun starts ``gossamer train`` and starts it again after every kill; the training goes on from its last checkpoint.
A kill comes when the last checkpoint has reached a step drawn at random, and a random part of a second later; it hits
any process that computes gradients. In step the result must have the same bits as undisturbed. With a server the order
of gradients is another in every run: there the noise between undisturbed runs is the measure.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import RUNS, arguments, gather, pin, record
from safetensors import safe_open
from safetensors.torch import load_file

from gossamer.runs.config import read_config
from gossamer.runs.folder import begin

KILLS, WORKERS = 20, 2
DISTURBED, UNDISTURBED = 1, 5  # seeds
SETTINGS: dict[str, Any] = {
    "data": "digits",
    "widths": [64, 32],
    "pattern": "unstructured",
    "epsilon": 8.0,
    "rule.name": "set",
    "rule.every": 20,
    "dense_last": True,
    "epochs": 60,
    "batch": 16,
    "threads": 1,
    "optimizer.lr": 0.05,
    "parallel.workers": WORKERS,
    "parallel.time_limit": 60,
}


class Training:
    """``gossamer train --resume`` under torchrun, on a run folder that is there."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        launcher += ["--max-restarts", str(2 * KILLS), "-m", "gossamer", "train", "--resume", str(folder)]
        with (folder / "log").open("wb") as log:
            self.run = subprocess.Popen(  # noqa: S603 (ourselves)
                [sys.executable, *launcher, "--checkpoint-every", "20", "--quiet", "--json"],
                stdout=log,
                stderr=log,
            )

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.run.poll() is not None

    def step(self) -> int:
        """Of the last checkpoint."""
        path = self.folder / "last.safetensors"
        if not path.is_file():
            return 0
        with safe_open(path, "pt") as file:
            return int(json.loads(file.metadata()["gossamer"])["progress"]["step"])

    def members(self) -> dict[int, int]:
        """Processes by rank."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                variables = (entry / "environ").read_bytes().split(b"\0") if parent == self.run.pid else []
            except (FileNotFoundError, ProcessLookupError):
                continue
            found |= {int(v[5:]): int(entry.name) for v in variables if v.startswith(b"RANK=")}
        return found

    def kill(self, rank: int) -> bool:
        """Kill a process, if it is there."""
        if (process := self.members().get(rank)) is None:
            return False
        os.kill(process, signal.SIGKILL)
        return True


def disturbed(training: Training, mode: str, total: int, dice: random.Random) -> list[dict[str, Any]]:
    """Kill whenever a step drawn at random is reached, until the training is over."""
    ranks = range(1, WORKERS + 1) if mode == "wasap" else range(WORKERS)
    done: list[dict[str, Any]] = []
    for wanted in sorted(dice.randrange(1, total) for _ in range(KILLS)):
        while not training.over and training.step() < wanted:
            time.sleep(0.05)
        time.sleep(dice.random())
        rank = dice.choice(ranks)
        while not training.over and not training.kill(rank):
            time.sleep(0.05)
        if training.over:
            break
        done.append({"step": training.step(), "rank": rank})
    return done


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One training."""
    folder = RUNS / "worker_kills" / "-".join(map(str, case.values()))
    shutil.rmtree(folder, ignore_errors=True)
    config, samples = begin(
        folder, read_config(None, SETTINGS | {"parallel.mode": case["mode"], "seed": case["seed"]})
    )
    assert config.parallel
    per_epoch = -(-(len(samples.x_train) // WORKERS) // config.batch)
    # Checkpoints of the server end with the first phase.
    steps = per_epoch * config.epochs
    reached = round(0.7 * steps * WORKERS) if case["mode"] == "wasap" else steps
    began = time.perf_counter()
    training = Training(folder, config.parallel.processes)
    dice = random.Random(case["seed"])
    kills = disturbed(training, case["mode"], reached, dice) if case["kills"] else []
    if training.run.wait():
        raise SystemExit((folder / "log").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "accuracy": summary["accuracy"],
        "steps": summary["steps"],
        "killed": len(kills),
        "kills_at": kills,
        "seconds": round(time.perf_counter() - began, 1),
        "connections": [layer["connections"] for layer in summary["layers"]],
    }


def same_bits(seed: int) -> bool:
    """Whether the disturbed training in step ended as the undisturbed one."""
    one, other = (
        load_file(RUNS / "worker_kills" / f"ddp-{kills}-{seed}" / "last.safetensors") for kills in (0, KILLS)
    )
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def main() -> None:
    """With a server and in step."""
    options = arguments(__doc__ or "", cores="0,1", fresh=False)
    pin(options.cores)
    cases = [{"mode": "ddp", "kills": kills, "seed": 0} for kills in (0, KILLS)]
    cases += [{"mode": "wasap", "kills": KILLS, "seed": seed} for seed in range(DISTURBED)]
    cases += [{"mode": "wasap", "kills": 0, "seed": seed} for seed in range(UNDISTURBED)]
    rows = gather("worker_kills", cases, measure, fresh=options.fresh)
    record("worker_kills", {"settings": SETTINGS, "ddp_same_bits": same_bits(0), "rows": rows})


if __name__ == "__main__":
    main()
