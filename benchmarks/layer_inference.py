"""One layer forward, each pattern beside every rival on the same numbers: shapes, sparsities, batches; one pinned core.

Everyone gets a batch-major input, as a caller has it. Rivals that are not installed are left out. Goes on where it was.
"""

from __future__ import annotations

import os
from functools import partial
from importlib import metadata
from typing import Any

import torch
from harness import arguments, record, remembered
from layer_calls import Call, random_layer
from layer_rivals import RIVALS
from torch import Tensor

import gossamer as gs
from gossamer.deploy.connections import Connections
from gossamer.deploy.layouts import layout
from gossamer.kernels import pick
from gossamer.measure import alternate, threads
from gossamer.patterns import NM

SHAPES = ((768, 3072), (3072, 768), (512, 512), (4096, 4096))  # inputs, outputs
TILES = {75.0: "nm:2:8", 87.5: "nm:1:8", 93.75: "nm:1:16"}  # sparsities that N:M has
SPARSITIES = (75.0, 80.0, 87.5, 90.0, 93.75, 95.0, 98.0, 99.0)
BATCHES = (1, 16, 64, 256)


def calls(layer: gs.SparseLinear, x: Tensor) -> dict[str, tuple[Call, int, int]]:
    """Every layout that holds the layer: a call, its connections and its bytes."""
    own = layer.pattern.layout
    operands = {own: (layer.values.detach(), layer.operands(), layer.pattern.dims(layer.shape))}
    if isinstance(layer.pattern, NM):
        topology, used = layer.topology, layer.values.detach()[: layer.connections]
        connections = Connections(layer.shape, topology.positions, used, pattern=layer.pattern)
        form = layout("nm_lanes").pack(connections, {"n": layer.pattern.n, "m": layer.pattern.m})
        operands["nm_lanes"] = (form.values, list(form.index.values()), form.dims)
    made: dict[str, tuple[Call, int, int]] = {}
    for name, (values, index, dims) in operands.items():
        run = pick("linear", name, values.dtype, "cpu").call
        size = sum(t.numel() * t.element_size() for t in (values, *index))
        label = str(layer.pattern) + (" lanes" if name == "nm_lanes" else "")
        call = partial(run, x, values, index, None, dims)
        made[label] = (call, layer.connections, size)
    return made


def case(inputs: int, outputs: int, sparsity: float, batch: int, seconds: float) -> dict[str, Any]:
    """Medians in microseconds of all contenders, and what ours execute and hold."""
    x, density = torch.randn(batch, inputs, generator=torch.Generator().manual_seed(1)), 1 - sparsity / 100
    unstructured = random_layer("unstructured", density, inputs, outputs)
    topology, used = unstructured.topology, unstructured.values.detach()[: unstructured.connections]
    w = Connections(unstructured.shape, topology.positions, used).dense()
    ours: dict[str, tuple[Call, int, int]] = {}
    for pattern in (
        "unstructured",
        "fanin",
        "fanin:4",
        "fanin:8",
        "block:4",
        "block:16",
        *filter(None, [TILES.get(sparsity)]),
    ):
        ours |= calls(random_layer(pattern, density, inputs, outputs), x)
    rivals = {name: call for name, make in RIVALS.items() if (call := make(w, x)) is not None}
    with torch.no_grad():
        times = alternate({**{name: call for name, (call, *_) in ours.items()}, **rivals}, seconds=seconds)
    dense = 2 * inputs * outputs * batch
    return {
        "ours": {
            name: {
                "us": round(times[name].median * 1e6, 1),
                "connections": connections,
                "bytes": size,
                "gflops_real": round(2 * connections * batch / times[name].median / 1e9, 1),
                "gflops_dense_equivalent": round(dense / times[name].median / 1e9, 1),
            }
            for name, (_, connections, size) in ours.items()
        },
        "rivals": {name: {"us": round(times[name].median * 1e6, 1)} for name in rivals},
    }


def peaks(seconds: float) -> dict[str, float]:
    """What this machine does at best on one thread: products of a large dense matrix, and reading of memory."""
    square, long = torch.randn(1536, 1536), torch.randn(64 * 1024 * 1024)
    times = alternate({"product": lambda: square @ square, "read": long.sum}, seconds=4 * seconds)
    return {
        "gflops": round(2 * 1536**3 / times["product"].median / 1e9, 1),
        "gigabytes_per_second": round(4 * long.numel() / times["read"].median / 1e9, 1),
    }


def with_shares(row: dict[str, Any], best: dict[str, float]) -> dict[str, Any]:
    """Adds to ours: shares of the peaks. Weights that stay in cache are read faster than memory: above 1."""
    for got in row["ours"].values():
        got["share_of_gflops"] = round(got["gflops_real"] / best["gflops"], 3)
        got["share_of_bandwidth"] = round(got["bytes"] / got["us"] / 1e3 / best["gigabytes_per_second"], 3)
    return row


def version(package: str) -> str | None:
    """Of a rival, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    """All cases, largest sparsity last."""
    options = arguments(__doc__, seconds=0.8, core=0)
    if hasattr(os, "sched_setaffinity"):
        if options.core not in (cores := os.sched_getaffinity(0)):
            raise SystemExit(
                f"layer_inference: expected one of the cores {sorted(cores)}, got {options.core}"
            )
        os.sched_setaffinity(0, {options.core})
    rows = []
    with threads(1):
        for inputs, outputs in SHAPES:
            for sparsity in SPARSITIES:
                for batch in BATCHES:
                    what = {"inputs": inputs, "outputs": outputs, "sparsity": sparsity, "batch": batch}
                    key = " ".join(map(str, what.values()))
                    measured = remembered(
                        "layer_inference", key, lambda w=what: case(**w, seconds=options.seconds)
                    )
                    rows.append({**what, **measured})
                    print(
                        key, measured["rivals"], {n: r["us"] for n, r in measured["ours"].items()}, flush=True
                    )
        best = peaks(options.seconds)
    versions = {name: version(name) for name in ("onnxruntime", "sparselab")}
    rows = [with_shares(row, best) for row in rows]
    record("layer_inference", {"threads": 1, "peaks": best, "versions": versions, "rows": rows})


if __name__ == "__main__":
    main()
