"""Sixteen client threads on one ``Runtime``: the same bits as alone, memory that stays, calls a second.

A network 784-300-100-10 gets a million calls and ResNet-20 ten thousand, of one sample and of four in turn, in rounds
of new threads, in a process without torch. The benchmark fails where an answer differs in a bit, or where the process
holds more after a later round than after the first quarter of them, by more than ``--growth`` KiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness import Row, arguments, pin, record
from torch import nn

import gossamer as gs
from gossamer.models import resnet20

WORKER = Path(__file__).with_name("client_worker.py")
WIDTHS = (784, 300, 100, 10)


def perceptron() -> tuple[nn.Module, tuple[int, ...]]:
    """Linear layers with a tenth of their connections."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(WIDTHS):
        layers += [gs.SparseLinear(n_in, n_out, density=0.1), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), WIDTHS[:1]


def residual() -> tuple[nn.Module, tuple[int, ...]]:
    """ResNet-20 for CIFAR with a tenth of the connections of every layer but the last."""
    model = resnet20(channels=3, classes=10)
    gs.sparsify(model, 0.1, "fanin", "uniform", skip=("linear",))
    return model, (3, 32, 32)


NETWORKS = {"784-300-100-10": (perceptron, 1_000_000), "resnet20": (residual, 10_000)}


def asked(name: str, share: float, threads: int, rounds: int) -> Row:
    """One network in a new process."""
    make, calls = NETWORKS[name]
    torch.manual_seed(0)
    model, shape = make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        frozen = gs.freeze(
            model.eval(), torch.randn(1, *shape), keep="csr"
        )  # measured, some layer may be torch's
        gs.save(frozen, path)
        numbers = map(str, (threads, round(calls * share), rounds))
        command = [sys.executable, str(WORKER), str(path), ",".join(map(str, shape)), *numbers]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (our own script)
    found: dict[str, Any] = json.loads(done.stdout)
    first, later = found["resident"][: rounds // 4], found["resident"][rounds // 4 :]
    rates = {
        "processor_a_call": median(found["processor"]) * rounds / found["calls"],
        "processor_a_call_alone": median(found["processor_alone"]) / found["calls_alone"],
        "calls_a_second": found["calls"] / rounds / median(found["seconds"]),
        "calls_a_second_alone": found["calls_alone"] / median(found["alone"]),
    }
    return {"network": name, "threads": threads, **rates, "grown": max(later) - max(first), **found}


def main() -> None:
    """Ask, print, compare, and write."""
    options = arguments(
        __doc__ or "",
        networks=",".join(NETWORKS),
        threads=16,
        rounds=20,
        share=1.0,
        growth=1024,
        cores="0,1",
        write=False,
    )
    pin(options.cores)
    rows = [
        asked(name, options.share, options.threads, options.rounds) for name in options.networks.split(",")
    ]
    print(json.dumps(rows, indent=1))
    if options.write:
        record("client_threads", {"growth_allowed": options.growth << 10, "rows": rows})
    for row in rows:
        if row["wrong"]:
            raise SystemExit(
                f"client_threads: {row['wrong']} of {row['calls']} answers of {row['network']} differ"
            )
        if row["grown"] > options.growth << 10:
            raise SystemExit(f"client_threads: {row['network']} grew by {row['grown']['resident']} bytes")


if __name__ == "__main__":
    main()
