"""Convolutions of ResNet-50 one at a time: forward and both gradients against torch's dense ones, pinned cores.

Topologies are drawn: a group of 1, 2, 4 or 8 outputs shares its inputs. All contenders of a layer run in turns,
torch on channels_last tensors, as it likes them. Times are medians of process time; all of it takes five minutes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import Row, arguments, pin, record
from torch import Tensor

from gossamer.kernels.dispatch import pick
from gossamer.layouts.geometry import Geometry

LAYERS = (
    (64, 64, 56, 3), (64, 256, 56, 1), (256, 64, 56, 1), (128, 128, 28, 3), (256, 256, 14, 3), (1024, 256, 14, 1),
    (512, 512, 7, 3), (512, 2048, 7, 1),
)  # fmt: skip
GROUPS = (1, 2, 4, 8)
MASKS = {"values": [False, True, False], "input": [True, False, False]}
Call = Callable[[], Any]


def sparse(
    geometry: Geometry, n_out: int, group: int, density: float, x: Tensor, grad: Tensor
) -> dict[str, Call]:
    """The three products of a layer with random connections."""
    k, groups = max(1, round(geometry.columns * density)), n_out // group
    columns = torch.rand(groups, geometry.columns).argsort(1)[:, :k].sort(1).values
    index = [
        torch.arange(groups, dtype=torch.int32).to(torch.uint16),
        columns.to(torch.int32).to(torch.uint16),
    ]
    values, shape = torch.randn(columns.numel() * group), [n_out, geometry.columns, group]
    run = {
        op: pick(op, "fanin", x.dtype, "cpu").call for op in ("conv", "conv_grad_input", "conv_grad_values")
    }
    size = tuple(x.shape[2:])
    return {
        "forward": partial(run["conv"], x, values, index, None, shape, geometry),
        "values": partial(run["conv_grad_values"], grad, x, values, index, shape, geometry),
        "input": partial(run["conv_grad_input"], grad, values, index, shape, geometry, size),
    }


def dense(geometry: Geometry, n_out: int, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """Those of torch."""
    weight = torch.randn(n_out, geometry.channels, *geometry.kernel)
    x, grad, weight = [t.contiguous(memory_format=torch.channels_last) for t in (x, grad, weight)]
    around = [1, 1], [geometry.padding[2], geometry.padding[0]], [1, 1]
    backward = torch.ops.aten.convolution_backward
    calls: dict[str, Call] = {"forward": partial(torch.conv2d, x, weight, None, *around)}
    for name, mask in MASKS.items():
        calls[name] = partial(backward, grad, x, weight, None, *around, False, [0, 0], 1, mask)
    return calls


def medians(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Seconds of each, all in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(layer: tuple[int, int, int, int], batch: int, density: float, repeats: int) -> list[Row]:
    """A row a product."""
    channels, n_out, side, kernel = layer
    geometry = Geometry(channels, (kernel, kernel), padding=(kernel // 2,) * 4)
    x, grad = torch.randn(batch, channels, side, side), torch.randn(batch, n_out, side, side)
    calls = {f"dense {name}": call for name, call in dense(geometry, n_out, x, grad).items()}
    for group in GROUPS:
        made = sparse(geometry, n_out, group, density, x, grad)
        calls |= {f"{group} {name}": call for name, call in made.items()}
    times = medians(calls, repeats)
    flops = 2 * geometry.columns * n_out * side * side * batch * density
    rows = []
    for name in ("forward", *MASKS):
        row = {"layer": layer, "batch": batch, "product": name, "dense_ms": 1e3 * times[f"dense {name}"]}
        for group in GROUPS:
            seconds = times[f"{group} {name}"]
            row[f"group {group}"] = {
                "ms": 1e3 * seconds, "times": times[f"dense {name}"] / seconds, "gflops": flops / seconds / 1e9,
            }  # fmt: skip
        rows.append(row)
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    options = arguments(__doc__, cores="0", batches="1,16", density=0.1, repeats=9)
    torch.set_num_threads(pin(options.cores))
    torch.manual_seed(0)
    rows = [
        row
        for batch in map(int, options.batches.split(","))
        for layer in LAYERS
        for row in measure(layer, batch, options.density, options.repeats)
    ]
    record("conv_layers", {"density": options.density, "rows": rows})
