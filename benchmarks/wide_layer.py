"""No hidden dense array: a 100,000 x 100,000 layer with 32 connections a neuron takes RigL steps; memory, time."""

from __future__ import annotations

import resource
import time

import torch
from harness import arguments, record

import gossamer as gs


def peak() -> int:
    """Peak resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Three ordinary steps, then one that ends in a topology update with growth by the dense gradient."""
    options = arguments(__doc__, width=100_000, fan_in=32, batch=2, threads=2)
    torch.set_num_threads(options.threads)
    imported = peak()
    n, k = options.width, options.fan_in
    results = {}
    for pattern in (gs.FanIn(), gs.Unstructured()):
        layer = gs.SparseLinear(
            n, n, density=k / n, pattern=pattern, generator=torch.Generator().manual_seed(0)
        )
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        engine = gs.attach(layer, optimizer, gs.RigL(every=4), total_steps=1000)
        seconds = []
        for step in range(4):
            x = torch.randn(options.batch, n, generator=torch.Generator().manual_seed(step))
            began = time.perf_counter()
            optimizer.zero_grad()
            (layer(x) - x).square().mean().backward()
            optimizer.step()
            seconds.append(round(time.perf_counter() - began, 3))
        results[str(pattern)] = {
            "connections": layer.connections,
            "seconds_ordinary_step": min(seconds[:3]),
            "seconds_update_step": seconds[3],
            "grown": sum(row.grown for row in engine.history),
            "peak_bytes_above_import": peak() - imported,
        }
        print(pattern, results[str(pattern)], flush=True)
    dense = 4 * n * n
    record(
        "wide_layer",
        {"width": n, "fan_in": k, "batch": options.batch, "dense_weight_bytes": dense, "patterns": results},
    )


if __name__ == "__main__":
    main()
