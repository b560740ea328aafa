"""784-1000-1000-1000-10 at 95 %: file size, frozen latency, training step and its memory, against dense torch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accuracy import relative_error
from harness import arguments, record
from network_rivals import LINEAR, rivals
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from training import mlp

import gossamer as gs
from gossamer.measure import alternate, peak_memory, threads
from gossamer.patterns import parse
from gossamer.topology import allocate

WIDTHS = (784, 1000, 1000, 1000, 10)
PATTERNS = ("fanin", "fanin:2", "unstructured")


def network(pattern: str | None, density: float) -> nn.Sequential:
    """The dense or the sparse network, same widths; ERK, the default, keeps the small output layer dense."""
    torch.manual_seed(0)
    model = mlp(*WIDTHS)
    if pattern is not None:
        gs.sparsify(model, density, parse(pattern), "erk", generator=torch.Generator().manual_seed(0))
    return model


def stepper(model: nn.Module, batch: int) -> Callable[[], None]:
    """One training step: forward, backward, SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(batch, WIDTHS[0]), torch.randint(WIDTHS[-1], (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def file_bytes(model: nn.Module, frozen: Any = None) -> int:
    """Size on disk: an artifact, or the dense weights as safetensors."""
    path = Path(tempfile.mkdtemp()) / "net.safetensors"
    if frozen is None:
        save_file(model.state_dict(), path)
    else:
        gs.save(frozen, path)
    return path.stat().st_size


def memory(pattern: str, density: float, batch: int) -> int:
    """Peak resident bytes of a process that builds the network and takes three training steps, above a tiny one's.

    A sparse network starts as sparse layers: a dense one that is swapped would be the peak.
    """
    child = [sys.executable, __file__, "--density", str(density), "--batch", str(batch), "--only"]
    return peak_memory([*child, pattern]).peak_bytes - peak_memory([*child, "nothing"]).peak_bytes


def child(pattern: str, density: float, batch: int) -> None:
    """What ``memory`` measures; even "nothing" takes a step, so that what torch loads for one is not counted."""
    if pattern == "nothing":
        step = stepper(nn.Sequential(nn.Linear(WIDTHS[0], 2), nn.ReLU(), nn.Linear(2, WIDTHS[-1])), batch)
    elif pattern == "dense":
        step = stepper(mlp(*WIDTHS), batch)
    else:
        shapes = {f"{n}": (WIDTHS[n + 1], WIDTHS[n]) for n in range(len(WIDTHS) - 1)}
        layers: list[nn.Module] = []
        for name, share in allocate(shapes, density).items():
            outputs, inputs = shapes[name]
            sparse = partial(gs.SparseLinear, density=share, pattern=parse(pattern))
            layers += [(nn.Linear if share == 1 else sparse)(inputs, outputs), nn.ReLU()]
        step = stepper(nn.Sequential(*layers[:-1]), batch)
    for _ in range(3):
        step()


def main() -> None:
    """Ratios to dense torch of the same run."""
    options = arguments(__doc__, density=0.05, threads=1, seconds=2.0, batch=128, only="")
    if options.only:
        torch.set_num_threads(1)
        child(options.only, options.density, options.batch)
        return
    dense = network(None, 1.0)
    result: dict[str, Any] = {"dense_file_bytes": file_bytes(dense), "patterns": {}}
    with threads(options.threads), torch.no_grad():
        given = {batch: torch.randn(batch, WIDTHS[0]) for batch in (1, 256)}
        theirs = {
            batch: rivals(lambda: network(None, 1.0).eval(), x, set(LINEAR)) for batch, x in given.items()
        }
        exact = {batch: deepcopy(dense).double()(x.double()) for batch, x in given.items()}
        for pattern in PATTERNS:
            row: dict[str, Any] = {}
            for batch, x in given.items():
                model = network(pattern, options.density)
                frozen = gs.freeze(model, x)
                calls = {"dense": lambda x=x: dense(x), "frozen": lambda f=frozen, x=x: f(x), **theirs[batch]}
                times = alternate(calls, seconds=options.seconds)
                row[f"batch_{batch}"] = {
                    "dense_us": round(times["dense"].median * 1e6, 1),
                    "frozen_us": round(times["frozen"].median * 1e6, 1),
                    "times_faster": round(times["dense"].median / times["frozen"].median, 2),
                    "error": relative_error(frozen(x), model.double()(x.double())),
                    "rivals": {
                        name: {
                            "us": round(times[name].median * 1e6, 1),
                            "error": relative_error(call(), exact[batch]),
                        }
                        for name, call in theirs[batch].items()
                    },
                    "runs": [layer["runs"][0] for layer in frozen.plan["layers"]],
                }
                row["file_bytes"] = file_bytes(dense, frozen)
                row["dense_over_file"] = round(result["dense_file_bytes"] / row["file_bytes"], 2)
            result["patterns"][pattern] = row
    with threads(options.threads):
        steps = {"dense": stepper(dense, options.batch)} | {
            p: stepper(network(p, options.density), options.batch) for p in PATTERNS
        }
        times = alternate(steps, seconds=options.seconds * 2)
    for pattern in PATTERNS:
        ours = result["patterns"][pattern]
        ours["training_step"] = {
            "dense_us": round(times["dense"].median * 1e6, 1),
            "sparse_us": round(times[pattern].median * 1e6, 1),
            "times_faster": round(times["dense"].median / times[pattern].median, 2),
        }
        ours["training_peak_bytes"] = {
            "dense": memory("dense", options.density, options.batch),
            "sparse": memory(pattern, options.density, options.batch),
        }
        print(pattern, ours, flush=True)
    record("mlp_speed", {"widths": WIDTHS, "density": options.density, "threads": options.threads, **result})


if __name__ == "__main__":
    main()
