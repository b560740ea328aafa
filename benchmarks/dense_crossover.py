"""From which density on a dense product is faster than a layout's own: times of one thread, shape by shape."""

from __future__ import annotations

import time
from typing import Any

import torch
from harness import arguments, gather, pin, record
from layer_calls import Call
from torch import Tensor

from gossamer.kernels import pick
from gossamer.measure import threads

LAYOUTS = ("csr", "fanin:1", "fanin:4", "fanin:8", "nm", "block:4", "block:16")
DENSITIES = (0.25, 0.5, 0.75)  # of N:M with m = 4 as well
SHAPES = "256x256,512x512,768x3072,3072x768,4096x4096"  # inputs x outputs
BATCHES = "1,4,16,64,256"
Operands = tuple[Tensor, list[Tensor], list[int]]  # values, index, shape of the layout


def _columns(rows: int, inputs: int, count: int) -> Tensor:
    """[rows, count] random columns, ascending in a row."""
    return torch.rand(rows, inputs).argsort(1)[:, :count].sort(1).values


def operands(layout: str, density: float, inputs: int, outputs: int) -> Operands:
    """Random values and connections of a layout such as ``"fanin:4"``; the same number in every row."""
    torch.manual_seed(0)
    kind, _, side = layout.partition(":")
    if kind == "nm":
        n = round(4 * density)
        offset = torch.rand(outputs, inputs // 4, 4).argsort(2)[..., :n].sort(2).values.to(torch.uint8)
        return torch.randn(offset.numel()), [offset], [outputs, inputs, n, 4]
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


def times(inputs: int, outputs: int, batch: int, seconds: float) -> dict[str, Any]:
    """Every product: torch's own on a dense weight, and each layout's at each density."""
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    w = torch.randn(outputs, inputs)
    dense: dict[str, Call] = {
        "linear": lambda: w @ x.T,
        "linear_grad_input": lambda: w.T @ grad.T,
        "linear_grad_values": lambda: grad.T @ x,
    }
    found = {"dense": {op: microseconds(call, seconds) for op, call in dense.items()}}
    for layout in LAYOUTS:
        for density in DENSITIES:
            values, index, shape = operands(layout, density, inputs, outputs)
            given = {
                "linear": (x, values, index, None, shape),
                "linear_grad_input": (grad, values, index, shape),
                "linear_grad_values": (grad, x, values, index, shape),
            }
            kind = layout.partition(":")[0]
            found[f"{layout} {density}"] = {
                op: microseconds(lambda: pick(op, kind, torch.float32, "cpu").call(*given[op]), seconds)  # noqa: B023
                for op in dense
            }
    return found


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
    record("dense_crossover", {"rows": rows})


if __name__ == "__main__":
    main()
