"""The three products of one layer, 3072 -> 768, batch 256, against dense torch: processor time of one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, record

import gossamer as gs
from gossamer.kernels import pick
from gossamer.measure import threads
from gossamer.patterns import parse

PATTERNS = ("fanin", "unstructured", "fanin:4")
DENSITIES = (0.1, 0.05, 0.02, 0.01)


def microseconds(call: Callable[[], Any], runs: int) -> float:
    """Lower quartile of the processor time of a call, which a busy machine disturbs less than the clock's."""
    samples = []
    for turn in range(runs + 2):  # two to warm up
        start = time.thread_time()
        call()
        if turn >= 2:
            samples.append(time.thread_time() - start)
    return round(1e6 * sorted(samples)[runs // 4], 1)


def products(
    pattern: str, density: float, inputs: int, outputs: int, batch: int, runs: int
) -> dict[str, Any]:
    """Forward, input gradient and weight gradient: ours, dense torch, and how many times faster."""
    generator = torch.Generator().manual_seed(0)
    layer = gs.SparseLinear(inputs, outputs, density=density, pattern=parse(pattern), generator=generator)
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    w, x_rows, grad_rows = torch.randn(outputs, inputs), x.contiguous(), grad.contiguous()
    values, index, shape = layer.values.detach(), layer.operands(), layer.pattern.dims(layer.shape)
    kernel = {
        op: pick(op, layer.pattern.layout, values.dtype, "cpu").call
        for op in ("linear", "linear_grad_input", "linear_grad_values")
    }
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "forward": (lambda: kernel["linear"](x, values, index, None, shape), lambda: x_rows @ w.T),
        "dX": (lambda: kernel["linear_grad_input"](grad, values, index, shape), lambda: grad_rows @ w),
        "dW": (
            lambda: kernel["linear_grad_values"](grad, x, values, index, shape),
            lambda: grad_rows.T @ x_rows,
        ),
    }
    result: dict[str, Any] = {}
    for name, (ours, dense) in pairs.items():
        took, rival = microseconds(ours, runs), microseconds(dense, runs)
        result[name] = {"us": took, "dense_us": rival, "times_faster": round(rival / took, 2)}
    totals = [sum(result[name][key] for name in pairs) for key in ("dense_us", "us")]
    return {**result, "step_times_faster": round(totals[0] / totals[1], 2)}


def main() -> None:
    """Every pattern at every density."""
    options = arguments(__doc__, inputs=3072, outputs=768, batch=256, runs=15)
    table: dict[str, Any] = {}
    with threads(1):
        for pattern in PATTERNS:
            for density in DENSITIES:
                row = products(pattern, density, options.inputs, options.outputs, options.batch, options.runs)
                table[f"{pattern} {density}"] = row
                print(pattern, density, row, flush=True)
    record(
        "layer_products",
        {"inputs": options.inputs, "outputs": options.outputs, "batch": options.batch, "table": table},
    )


if __name__ == "__main__":
    main()
