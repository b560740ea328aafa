"""What the time of a product means on this machine: rates, bytes moved, and shares of its peaks."""

from __future__ import annotations

from typing import Any

import torch
from layer_rivals import RIVALS
from torch import Tensor

from gossamer.layouts import Encoded
from gossamer.measure import alternate


def row(
    times: dict[str, float], ours: dict[str, tuple[int, Encoded]], w: Tensor, batch: int
) -> dict[str, Any]:
    """All contenders of a case: what each took, what it executed and read.

    Args:
        times: name -> seconds of a call.
        ours: name -> (connections, layout).
        w: [outputs, inputs] - the dense weight of the rivals.
        batch: int.
    """
    used, shape = int(w.count_nonzero()), (w.shape[1], w.shape[0], batch)
    return {
        "ours": {
            name: {
                "connections": connections,
                "bytes": form.bytes,
                **rates(times[name], connections, form.bytes, shape),
            }
            for name, (connections, form) in ours.items()
        },
        "rivals": {
            name: rates(times[name], w.numel() if rival.a_weight else used, rival.bytes(w), shape)
            for name, rival in RIVALS.items()
            if name in times
        },
    }


def rates(
    seconds: float, connections: int, held: int, shape: tuple[int, int, int], products: int = 1
) -> dict[str, Any]:
    """Time, both rates, and bytes moved: weights and indices (``held``; 0: not known), input and output, each once."""
    inputs, outputs, batch = shape
    flops = 2 * batch * products
    got = {
        "us": round(seconds * 1e6, 1),
        "gflops_real": round(flops * connections / seconds / 1e9, 1),
        "gflops_dense_equivalent": round(flops * inputs * outputs / seconds / 1e9, 1),
    }
    return {**got, "bytes_moved": held + 4 * batch * (inputs + outputs)} if held else got


def peaks(seconds: float = 3.0) -> dict[str, float]:
    """What this machine does at best on torch's threads: products of a large dense matrix, and reading of memory."""
    square, long = torch.randn(1536, 1536), torch.randn(64 * 1024 * 1024)
    times = alternate({"product": lambda: square @ square, "read": long.sum}, seconds=seconds)
    return {
        "gflops": round(2 * 1536**3 / times["product"].median / 1e9, 1),
        "gigabytes_per_second": round(4 * long.numel() / times["read"].median / 1e9, 1),
    }


def with_shares(measured: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Adds shares of the peaks. What stays in cache is read faster than memory: above 1."""
    for got in (*measured["ours"].values(), *measured["rivals"].values()):
        got["share_of_gflops"] = round(got["gflops_real"] / best["gflops"], 3)
        if "bytes_moved" in got:
            read = got["bytes_moved"] / got["us"] / 1e3
            got["share_of_bandwidth"] = round(read / best["gigabytes_per_second"], 3)
    return measured
