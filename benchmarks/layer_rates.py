"""What the time of a product means on this machine: rates, bytes moved, and shares of its peaks."""

from __future__ import annotations

from typing import Any

import torch

from gossamer.measure import alternate


def rates(seconds: float, connections: int, weight_bytes: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Microseconds, real and dense-equivalent rate, and bytes moved: weights, indices, input and output, each once.

    Args:
        seconds: float - of a call.
        connections: int - that it multiplies with.
        weight_bytes: int - weights and indices it reads; 0: not known.
        shape: (int, int, int) - inputs, outputs, batch.
    """
    inputs, outputs, batch = shape
    got = {
        "us": round(seconds * 1e6, 1),
        "gflops_real": round(2 * connections * batch / seconds / 1e9, 1),
        "gflops_dense_equivalent": round(2 * inputs * outputs * batch / seconds / 1e9, 1),
    }
    return {**got, "bytes_moved": weight_bytes + 4 * batch * (inputs + outputs)} if weight_bytes else got


def peaks(seconds: float = 3.0) -> dict[str, float]:
    """What this machine does at best on torch's threads: products of a large dense matrix, and reading of memory."""
    square, long = torch.randn(1536, 1536), torch.randn(64 * 1024 * 1024)
    times = alternate({"product": lambda: square @ square, "read": long.sum}, seconds=seconds)
    return {
        "gflops": round(2 * 1536**3 / times["product"].median / 1e9, 1),
        "gigabytes_per_second": round(4 * long.numel() / times["read"].median / 1e9, 1),
    }


def with_shares(row: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Adds shares of the peaks. What stays in cache is read faster than memory: above 1."""
    for got in (*row["ours"].values(), *row["rivals"].values()):
        got["share_of_gflops"] = round(got["gflops_real"] / best["gflops"], 3)
        if "bytes_moved" in got:
            read = got["bytes_moved"] / got["us"] / 1e3
            got["share_of_bandwidth"] = round(read / best["gigabytes_per_second"], 3)
    return row
