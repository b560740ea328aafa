"""The three products of one layer, 3072 -> 768, batch 256, against dense torch: processor time of one thread."""

from __future__ import annotations

import time
from typing import Any

import torch
from harness import arguments, record
from layer_calls import Call, products, random_layer

from gossamer.measure import threads

PATTERNS = ("fanin", "unstructured", "fanin:4", "block:4", "block:16")
DENSITIES = (0.1, 0.05, 0.02, 0.01)
STEP = ("forward", "dX", "dW")  # what a training step runs


def microseconds(call: Call, runs: int) -> float:
    """Lower quartile of the processor time of a call, which a busy machine disturbs less than the clock's."""
    samples = []
    for turn in range(runs + 2):  # two to warm up
        start = time.thread_time()
        call()
        if turn >= 2:
            samples.append(time.thread_time() - start)
    return round(1e6 * sorted(samples)[runs // 4], 1)


def against_dense(
    pattern: str, density: float, inputs: int, outputs: int, batch: int, runs: int
) -> dict[str, Any]:
    """Every product: ours, dense torch, how many times faster; and what dX keeps beside the index."""
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    w, x_rows, grad_rows = torch.randn(outputs, inputs), x.contiguous(), grad.contiguous()
    layer = random_layer(pattern, density, inputs, outputs)
    calls = products(layer, x, grad)
    dense: dict[str, Call] = {
        "forward": lambda: x_rows @ w.T,
        "dX": lambda: grad_rows @ w,
        "dX scattered": lambda: grad_rows @ w,
        "dW": lambda: grad_rows.T @ x_rows,
    }
    result: dict[str, Any] = {}
    for name, call in calls.items():
        took, rival = microseconds(call, runs), microseconds(dense[name], runs)
        result[name] = {"us": took, "dense_us": rival, "times_faster": round(rival / took, 2)}
    totals = [sum(result[name][key] for name in STEP) for key in ("dense_us", "us")]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in layer.transposed)
    return {
        **result,
        "step_times_faster": round(totals[0] / totals[1], 2),
        "transposed_bytes_a_connection": round(kept / layer.connections, 2),
    }


def main() -> None:
    """Every pattern at every density."""
    options = arguments(__doc__, inputs=3072, outputs=768, batch=256, runs=15)
    table: dict[str, Any] = {}
    with threads(1):
        for pattern in PATTERNS:
            for density in DENSITIES:
                row = against_dense(
                    pattern, density, options.inputs, options.outputs, options.batch, options.runs
                )
                table[f"{pattern} {density}"] = row
                print(pattern, density, row, flush=True)
    record(
        "layer_products",
        {"inputs": options.inputs, "outputs": options.outputs, "batch": options.batch, "table": table},
    )


if __name__ == "__main__":
    main()
