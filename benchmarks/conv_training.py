"""ResNet-18 on CIFAR shapes: a training step of packed convolutions beside dense ones, and the memory of both.

All contenders of a density run in turns in one process. The dense ones: eager, channels_last, torch.compile, and
bfloat16 autocast. The first convolution and the classifier stay dense; the densities are uniform, so that 90 % zeros
leave 10 % of the multiplications. A contender that takes many times as long as dense is called once. Finished densities
are kept in ``runs/conv_training.jsonl``: a killed run goes on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import arguments, pin, record, remembered
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.kernels import rows
from gossamer.measure import alternate, peak_memory
from gossamer.models import build

PATTERNS = ("unstructured", "fanin", "fanin:2", "fanin:4", "fanin:8")
PERCENT = (80, 90, 95)
SIZE = (3, 32, 32)
NAME = "conv_training"
PATIENCE = 5  # times the time of a dense step: what takes longer is not repeated
Step = Callable[[], None]


def network(pattern: str = "", percent: int = 0) -> nn.Module:
    """ResNet-18 for small images, dense or with packed convolutions."""
    torch.manual_seed(0)
    model = build({"name": "resnet18-small"}, channels=SIZE[0], classes=10)
    if pattern:
        generator = torch.Generator().manual_seed(0)
        kept = 1 - percent / 100
        gs.sparsify(model, kept, pattern, "uniform", generator=generator, dense_first=True, dense_last=True)
    return model


def stepper(
    model: nn.Module,
    batch: int,
    layout: torch.memory_format = torch.contiguous_format,
    cast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """One training step: forward, backward, SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(batch, *SIZE).contiguous(memory_format=layout)
    y = torch.randint(10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        with cast():
            loss = F.cross_entropy(model(x).float(), y)
        loss.backward()
        optimizer.step()

    return step


def dense(batch: int, compiled: bool) -> dict[str, Step]:
    """The rivals."""
    last = torch.channels_last
    halves = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    ways: dict[str, Step] = {
        "dense": stepper(network(), batch),
        "dense, channels_last": stepper(network().to(memory_format=last), batch, last),
        "dense, bfloat16 autocast": stepper(network(), batch, cast=halves),
    }
    if compiled:
        model = network()
        ways["dense, torch.compile"] = stepper(torch.compile(model), batch)
    return ways


def measured(percent: int, options: Any) -> dict[str, Any]:
    """Seconds of a step and peak bytes of every contender at one density."""
    ways = dense(options.batch, not options.eager)
    ways |= {pattern: stepper(network(pattern, percent), options.batch) for pattern in PATTERNS}
    first = {name: seconds(way) for name, way in ways.items()}
    quick = {name: way for name, way in ways.items() if first[name] <= PATIENCE * first["dense"]}
    times = alternate(quick, seconds=options.seconds)
    took = first | {name: time.median for name, time in times.items()}
    best = min(taken for name, taken in took.items() if name.startswith("dense"))
    row: dict[str, Any] = {}
    for name, taken in took.items():
        row[name] = {
            "seconds": round(taken, 4),
            "times_faster_than_dense": round(took["dense"] / taken, 2),
            "times_faster_than_best_dense": round(best / taken, 2),
            "runs": times[name].runs if name in times else 1,
        }
        if name in times:
            row[name] |= {"p10": round(times[name].p10, 4), "p90": round(times[name].p90, 4)}
    for name in ("dense", *PATTERNS):
        row[name]["peak_bytes"] = peak(name, percent, options)
    return row


def seconds(way: Step) -> float:
    """Of the second call."""
    way()
    begin = time.perf_counter()
    way()
    return time.perf_counter() - begin


def peak(name: str, percent: int, options: Any) -> int:
    """Peak resident bytes of steps, in a process of its own, once the network is there."""
    words = ["--only", name, "--percent", str(percent), "--batch", str(options.batch)]
    found: int = json.loads(peak_memory([sys.executable, __file__, *words, "--cores", options.cores]).stdout)
    return found


def child(name: str, percent: int, batch: int) -> None:
    """What ``peak`` runs: the mark is set back after the network was built, for it was dense first."""
    step = stepper(network("" if name == "dense" else name, percent), batch)
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        step()
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024)


def main() -> None:
    """All densities, one after the other."""
    options = arguments(__doc__, batch=16, cores="0", seconds=60.0, eager=False, only="", percent=0)
    torch.set_num_threads(pin(options.cores))
    if options.only:
        child(options.only, options.percent, options.batch)
        return
    compiled = sorted({row.isa for row in rows() if row.op == "conv"} - {"reference"})
    if not compiled:
        raise SystemExit("benchmark: expected compiled convolutions, found the reference kernels alone")
    result: dict[str, Any] = {"batch": options.batch, "threads": torch.get_num_threads(), "sets": compiled}
    for percent in PERCENT:
        key = f"{percent} %, batch {options.batch}, cores {options.cores}, {' '.join(compiled)}"
        result[f"{percent}"] = remembered(NAME, key, partial(measured, percent, options))
        fan = result[f"{percent}"]["fanin"]
        print(f"{percent} %: fan-in {fan['times_faster_than_dense']}x dense", flush=True)
    record(f"{NAME}_{options.batch}", result)


if __name__ == "__main__":
    main()
