"""The kernels of two instruction sets on the same layers, in turns: what the wider one brings, one pinned thread.

Products of trained layouts read feature-major activations, frozen layouts a batch-major input. Times are lower
quartiles, which a busy machine disturbs less. Goes on where it was; --fresh starts anew."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch
from harness import arguments, gather, pin, record
from layer_calls import Call, forward, layouts_of, products, random_layer
from layer_cases import divides, inputs_of
from layer_rates import peaks, rates
from layer_timing import timed

from gossamer.kernels import use
from gossamer.measure import threads
from gossamer.measure.timing import SHORTEST_RUN

SHAPES = "768x3072,3072x768,4096x4096"  # inputs x outputs
PATTERNS = {
    "unstructured": 0.1, "fanin": 0.1, "fanin:4": 0.1, "fanin:8": 0.1, "block:4": 0.1, "block:16": 0.1,
    "nm:1:8": 1 / 8, "nm:1:16": 1 / 16,
}  # fmt: skip
Case = dict[str, Any]


def quartiles(calls: dict[str, Call], seconds: float) -> dict[str, float]:
    """Name -> lower quartile of the seconds of a call, five runs at least, in turns."""
    runs = {}
    for name, call in calls.items():
        call()
        runs[name] = max(1, math.ceil(SHORTEST_RUN / timed(call)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    stop, turn = time.perf_counter() + seconds, 0
    while turn < 5 or time.perf_counter() < stop:
        for name in reversed(calls) if turn % 2 else calls:
            samples[name].append(timed(calls[name], runs[name]))
        turn += 1
    return {name: sorted(times)[len(times) // 4] for name, times in samples.items()}


def calls(pattern: str, case: Case) -> tuple[int, dict[str, tuple[Call, int]]]:
    """Connections, and name -> (call, bytes of weights and indices) under the instruction set that is in force.

    The three products of the layer, and the forward product of every layout that freezing may make of it.
    """
    inputs, outputs, batch = case["inputs"], case["outputs"], case["batch"]
    layer = random_layer(pattern, PATTERNS[pattern], inputs, outputs)
    held = layouts_of(layer)
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    found = {
        f"{pattern} {name}": (call, held[str(layer.pattern)].bytes)
        for name, call in products(layer, x, grad).items()
    }
    rows = inputs_of(batch, inputs)
    frozen = {name: (forward(form, rows), form.bytes) for name, form in list(held.items())[1:]}
    return layer.connections, {**found, **frozen}


def measure(case: Case, sets: list[str], seconds: float) -> dict[str, Any]:
    """Of every product of every pattern: times by instruction set, and rates by the last of them."""
    found: dict[str, Any] = {}
    for pattern in PATTERNS:
        if not divides(pattern, case["inputs"], case["outputs"]):
            continue
        made = {}
        for name in sets:
            with use(name):
                connections, made[name] = calls(pattern, case)
        for product, (_, held) in made[sets[-1]].items():
            times = quartiles({name: made[name][product][0] for name in sets}, seconds)
            shape = (case["inputs"], case["outputs"], case["batch"])
            found[product] = {
                **rates(times[sets[-1]], connections, held, shape),
                "us": {name: round(1e6 * took, 2) for name, took in times.items()},
                "times_faster": round(times[sets[0]] / times[sets[-1]], 3),
            }
    return {"products": found}


def with_shares(row: dict[str, Any], best: dict[str, float], wider: str) -> dict[str, Any]:
    """Adds shares of the peaks; what stays in cache is read faster than memory: above 1."""
    for got in row["products"].values():
        got["share_of_gflops"] = round(got["gflops_real"] / best["gflops"], 3)
        read = got["bytes_moved"] / got["us"][wider] / 1e3
        got["share_of_bandwidth"] = round(read / best["gigabytes_per_second"], 3)
    return row


def main() -> None:
    """Every shape and batch."""
    options = arguments(
        __doc__, shapes=SHAPES, batches="1,16,256", sets="avx2,avx512", seconds=0.1, cores="0", fresh=False
    )
    sets = options.sets.split(",")
    cases = [
        {"inputs": int(shape.split("x")[0]), "outputs": int(shape.split("x")[1]), "batch": int(batch)}
        for shape in options.shapes.split(",")
        for batch in options.batches.split(",")
    ]
    with threads(pin(options.cores)), torch.no_grad():
        run = partial(measure, sets=sets, seconds=options.seconds)
        rows = gather("isa", cases, run, fresh=options.fresh)
        best = peaks()
    record("isa", {"sets": sets, "peaks": best, "rows": [with_shares(row, best, sets[-1]) for row in rows]})


if __name__ == "__main__":
    main()
