"""One layer forward on real patterns: weights of ResNet-50 and the Transformer, pruned in four ways; pinned cores.

Reads dlmc_small.npz, a part of the Deep Learning Matrix Collection, from a folder in GOSSAMER_DATA: names [n], shape
[n, 3] (rows, columns, connections), row_nnz (connections of each row, one matrix after another) and col (their
columns). Values are random. Ours are the layouts that hold the pattern as it is. All of it takes about three minutes.
"""

from __future__ import annotations

import argparse
from functools import cache
from typing import Any

import numpy as np
import torch
from harness import shared_file
from layer_calls import forward
from layer_cases import Case, inputs_of, run
from layer_rates import row
from layer_rivals import RIVALS
from layer_timing import warm

from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.trace.tensors import tensor_of

FILE = "dlmc_small.npz"
AGAINST = ("torch dense", "torch CSR", "ONNX Runtime int8", "SparseLab", "DeepSparse")


@cache
def patterns() -> dict[str, Connections]:
    """Every matrix that has connections, by name."""
    with np.load(shared_file(FILE)) as file:
        names, shapes, row_nnz, col = (file[key] for key in ("names", "shape", "row_nnz", "col"))
    generator = torch.Generator().manual_seed(0)
    matrices: dict[str, Connections] = {}
    for name, (n_out, n_in, count) in zip(names.tolist(), shapes.tolist(), strict=True):
        rows, row_nnz = np.repeat(np.arange(n_out), row_nnz[:n_out]), row_nnz[n_out:]
        positions = np.sort(rows * n_in + col[:count].astype(np.int64))
        col = col[count:]
        if count:
            values = torch.randn(count, generator=generator).numpy()
            matrices[name] = Connections((n_out, n_in), positions, values)
    return matrices


def held(connections: Connections) -> dict[str, tuple[int, Encoded]]:
    """Name -> (connections, layout), of every sparse layout that the core runs and that holds the pattern."""
    made = {}
    for name in layouts:
        kind = layout(name)
        parameters = kind.fit(connections)
        if kind.kernel and kind.explicit and not isinstance(parameters, str):
            made[name] = (connections.positions.size, kind.encode(connections, parameters))
    return made


def cases(options: argparse.Namespace) -> list[Case]:
    """Every pattern of ``--collection`` at every batch."""
    return [
        {"pattern": name, "batch": int(batch)}
        for name in patterns()
        if options.collection in name
        for batch in options.batches.split(",")
    ]


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Times of all contenders, and what ours execute and hold."""
    connections = patterns()[case["pattern"]]
    (n_out, n_in), w, ours = connections.shape, tensor_of(connections.dense()), held(connections)
    x = inputs_of(case["batch"], n_in)
    rivals = {name: call for name in AGAINST if (call := RIVALS[name].make(w, x)) is not None}
    times = warm({**{name: forward(form, x) for name, (_, form) in ours.items()}, **rivals}, seconds)
    sparsity = round(100 * (1 - connections.density), 2)
    return {"inputs": n_in, "outputs": n_out, "sparsity": sparsity, **row(times, ours, w, case["batch"])}


if __name__ == "__main__":
    run("layer_dlmc", __doc__, measure, cases, collection="", batches="1,64,256", seconds=0.2)
