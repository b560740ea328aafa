"""The grid of the benchmarks of one layer: shapes, sparsities, patterns; measured in parts, and gathered."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from harness import arguments, gather, pin, record
from layer_calls import connections_of, layouts_of, random_layer
from layer_rates import peaks, with_shares
from layer_rivals import INSTALLING, versions
from torch import Tensor

from gossamer.layouts import Encoded
from gossamer.measure import threads
from gossamer.patterns import NM, parse
from gossamer.trace.tensors import tensor_of

SHAPES = "768x3072,3072x768,512x512,4096x4096,1024x4096,256x256,1000x1000"  # inputs x outputs
PATTERNS = ("unstructured", "fanin", "fanin:4", "fanin:8", "block:4", "block:16")
TILES = {75.0: "nm:2:8", 87.5: "nm:1:8", 93.75: "nm:1:16"}  # sparsities that N:M has
PARTS = """Goes on where it was; --fresh starts anew. The results hold every case measured so far, so that it can be
run in parts, such as --batches 1,16. There are as many threads as --cores."""

Case = dict[str, Any]


@lru_cache(maxsize=1)
def layers(inputs: int, outputs: int, sparsity: float) -> tuple[Tensor, dict[str, tuple[int, Encoded]]]:
    """The dense weight of the unstructured layer for rivals, and name -> (connections, layout) of ours."""
    density, names = 1 - sparsity / 100, filter(None, (*PATTERNS, TILES.get(sparsity)))
    made = [random_layer(name, density, inputs, outputs) for name in names if divides(name, inputs, outputs)]
    ours = {name: (layer.connections, form) for layer in made for name, form in layouts_of(layer).items()}
    return tensor_of(connections_of(made[0]).dense()), ours


def divides(name: str, inputs: int, outputs: int) -> bool:
    """Whether the units or tiles of a pattern divide a layer."""
    pattern = parse(name)
    height, width = pattern.unit
    return not (outputs % height or inputs % (pattern.m if isinstance(pattern, NM) else width))


def inputs_of(batch: int, features: int) -> Tensor:
    """[batch, features], batch-major, as a caller has it; always the same."""
    return torch.randn(batch, features, generator=torch.Generator().manual_seed(1))


def grid(options: argparse.Namespace) -> list[Case]:
    """Every case of ``--shapes``, ``--sparsities`` and ``--batches``, in this order."""
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    sparsities, batches = (text.split(",") for text in (options.sparsities, options.batches))
    return [
        {"inputs": inputs, "outputs": outputs, "sparsity": float(sparsity), "batch": int(batch)}
        for inputs, outputs in shapes
        for sparsity in sparsities
        for batch in batches
    ]


def run(
    name: str,
    about: str,
    measure: Callable[[Case, float], dict[str, Any]],
    cases: Callable[[argparse.Namespace], list[Case]] = grid,
    **defaults: Any,
) -> None:
    """Measure the chosen cases, then write a file of all that are known."""
    options = arguments(f"{about}\n{PARTS}\n\n{INSTALLING}", **defaults, cores="0", fresh=False)
    count = pin(options.cores)
    name = name if count == 1 else f"{name}_{count}_threads"
    with threads(count), torch.no_grad():
        chosen = cases(options)
        rows = gather(name, chosen, lambda case: measure(case, options.seconds), fresh=options.fresh)
        best = peaks()
    rows = [with_shares(row, best) for row in rows]
    record(name, {"threads": count, "peaks": best, "versions": versions(), "rows": rows})
