"""The constants of gossamer.kernels.cost: products on a dense weight and by each layout's own kernel, one thread.

The results have the constants as cost.py holds them, and how far the estimates of cost.py are off."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from harness import arguments, gather, pin, record
from layer_calls import Call
from torch import Tensor

from gossamer.kernels import cost, pick
from gossamer.kernels.cpu import dense, densified
from gossamer.measure import threads

LAYOUTS = ("csr", "fanin:4", "fanin:8", "nm:1", "nm:2", "block:4", "block:16")
DENSITIES = (0.5, 0.75)
OPS = ("linear", "linear_grad_input", "linear_grad_values")
SHAPES = "256x256,512x512,768x3072,3072x768,4096x4096"  # inputs x outputs
BATCHES = ",".join(map(str, cost.BATCHES))
TINY = (8, 8)
Operands = tuple[Tensor, list[Tensor], list[int]]  # values, index, shape of the layout


def _columns(rows: int, inputs: int, count: int) -> Tensor:
    """[rows, count] random columns, ascending in a row."""
    return torch.rand(rows, inputs).argsort(1)[:, :count].sort(1).values


def operands(layout: str, density: float, inputs: int, outputs: int) -> Operands:
    """Random values and connections of a layout such as ``"fanin:4"``; the same number in every row."""
    torch.manual_seed(0)
    kind, _, side = layout.partition(":")
    if kind == "nm":
        n, m = (1, 2) if side == "1" else (round(4 * density), 4)
        offset = torch.rand(outputs, inputs // m, m).argsort(2)[..., :n].sort(2).values.to(torch.uint8)
        return torch.randn(offset.numel()), [offset], [outputs, inputs, n, m]
    group, width = int(side or 1), int(side or 1) if kind == "block" else 1
    rows = outputs // group
    cols = _columns(rows, inputs // width, round(density * inputs / width)).to(torch.uint16)
    values = torch.randn(cols.numel() * group * width)
    if kind == "fanin":
        return values, [torch.arange(rows).to(torch.uint16), cols], [outputs, inputs, group]
    pointer = torch.arange(rows + 1, dtype=torch.int32) * cols.shape[1]
    sides = [group, width] if kind == "block" else []
    return values, [pointer, cols.flatten()], [outputs, inputs, *sides]


def microseconds(call: Call, seconds: float) -> float:
    """Lower quartile of runs of a call, three at least, so that a busy machine disturbs less."""
    call()
    samples, stop = list[float](), time.perf_counter() + seconds
    while len(samples) < 3 or (time.perf_counter() < stop and len(samples) < 200):
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return round(1e6 * sorted(samples)[len(samples) // 4], 2)


def rivals(inputs: int, outputs: int, x: Tensor, grad: Tensor) -> dict[str, dict[str, Call]]:
    """The products on a dense weight: as the package computes them, and as torch's own layer does."""
    w, x_rows, grad_rows = torch.randn(outputs, inputs), x.contiguous(), grad.contiguous()
    return {
        "dense": {
            "linear": lambda: dense.multiply(x, w, None),
            "linear_grad_input": lambda: dense.multiply_back(grad, w),
            "linear_grad_values": lambda: grad.T @ x,
        },
        "torch": {
            "linear": lambda: torch.nn.functional.linear(x_rows, w),
            "linear_grad_input": lambda: grad_rows @ w,
            "linear_grad_values": lambda: grad_rows.T @ x_rows,
        },
    }


def own(layout: str, density: float, inputs: int, outputs: int, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """The products by the layout's kernel, and moving its values into a dense matrix and out of it."""
    values, index, shape = operands(layout, density, inputs, outputs)
    kind, weight = layout.partition(":")[0], torch.zeros(outputs, inputs)
    linear, grad_input, grad_values = (pick(op, kind, torch.float32, "cpu").call for op in OPS)
    return {
        "linear": lambda: linear(x, values, index, None, shape),
        "linear_grad_input": lambda: grad_input(grad, values, index, shape),
        "linear_grad_values": lambda: grad_values(grad, x, values, index, shape),
        "scatter": lambda: densified.scatter(weight, values, index, kind, shape),
        "gather": lambda: densified.gather(weight, values, index, kind, shape),
    }


def times(inputs: int, outputs: int, batch: int, seconds: float) -> dict[str, Any]:
    """Microseconds of every product, torch's on a dense weight and each layout's at each density."""
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    found = {
        name: {op: microseconds(call, seconds) for op, call in calls.items()}
        for name, calls in rivals(inputs, outputs, x, grad).items()
    }
    for layout in LAYOUTS:
        for density in DENSITIES if layout != "nm:1" else DENSITIES[:1]:
            calls = own(layout, density, inputs, outputs, x, grad)
            found[f"{layout} {density}"] = {op: microseconds(call, seconds) for op, call in calls.items()}
    return found


def call_costs(seconds: float) -> tuple[float, float]:
    """Microseconds of a forward product that has nothing to do: by the layout's kernel, and on a dense weight."""
    values, index, shape = operands("csr", 0.5, *TINY)
    x, kernel = torch.randn(1, TINY[0]), pick("linear", "csr", torch.float32, "cpu").call
    return (
        microseconds(lambda: kernel(x, values, index, None, shape), 20 * seconds),
        microseconds(lambda: dense.linear(x, values, index, None, "csr", shape, False), 20 * seconds),
    )


def check_cost(seconds: float) -> float:
    """Nanoseconds of looking whether one value changed."""
    values = torch.randn(768 * 3072 // 2)
    return float(
        f"{1e3 * microseconds(lambda: densified.fingerprint(values), 20 * seconds) / values.numel():.3g}"
    )


def constants(rows: list[dict[str, Any]], call: tuple[float, float], check: float) -> dict[str, Any]:
    """Medians over shapes and densities, in nanoseconds of a weight or of a connection."""

    def median(name: str, op: str, batch: int | None, called: float) -> float:
        found = []
        for row in rows:
            for key in row:
                layout, _, density = key.partition(" ")
                if layout == name and batch in {None, row["batch"]}:
                    count = row["inputs"] * row["outputs"] * float(density or 1)
                    found.append((row[key][op] - called) * 1e3 / count)
        return float(f"{statistics.median(found):.3g}")

    def by_batch(name: str, called: float) -> dict[str, list[float]]:
        return {op: [median(name, op, batch, called) for batch in cost.BATCHES] for op in OPS}

    return {
        "DENSE": by_batch("dense", call[1]),
        "SPARSE": {layout: by_batch(layout, call[0]) for layout in LAYOUTS},
        "MOVE": {
            layout: [median(layout, op, None, 0.0) for op in ("scatter", "gather")] for layout in LAYOUTS
        },
        "CHECK": check,
        "CALL": list(call),
    }


def errors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Estimated over measured time by `cost` as it is: 10th, 50th and 90th of a hundred, sparse and dense."""
    ratios: dict[str, list[float]] = {"sparse": [], "dense": []}
    for row in rows:
        for key in row:
            layout, _, density = key.partition(" ")
            if layout not in LAYOUTS:
                continue
            kind, _, side = layout.partition(":")
            more = {"fanin": [int(side or 1)], "nm": [int(side or 1), 4], "block": [int(side or 1)] * 2}.get(
                kind, []
            )
            shape, connections = (
                (row["outputs"], row["inputs"], *more),
                row["inputs"] * row["outputs"] * float(density),
            )
            for op, found in cost.estimates(kind, shape, round(connections), row["batch"], False).items():
                gather = row[key]["gather"] if op == "linear_grad_values" else 0.0
                ratios["sparse"].append(found.sparse / row[key][op])
                ratios["dense"].append(found.dense / (row["dense"][op] + gather))
    return {
        way: [round(sorted(all_)[len(all_) * p // 100], 2) for p in (10, 50, 90)]
        for way, all_ in ratios.items()
    }


def main() -> None:
    """Every shape and batch; goes on where it was."""
    options = arguments(__doc__, shapes=SHAPES, batches=BATCHES, seconds=0.01, cores="0", fresh=False)
    cases = [
        {"inputs": int(shape.split("x")[0]), "outputs": int(shape.split("x")[1]), "batch": int(batch)}
        for shape in options.shapes.split(",")
        for batch in options.batches.split(",")
    ]
    with threads(pin(options.cores)), torch.no_grad():
        rows = gather(
            "dense_crossover", cases, lambda case: times(**case, seconds=options.seconds), fresh=options.fresh
        )
        found = constants(rows, call_costs(options.seconds), check_cost(options.seconds))
    record("dense_crossover", {"constants": found, "estimated_over_measured": errors(rows), "rows": rows})


if __name__ == "__main__":
    main()
