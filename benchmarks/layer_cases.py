"""The shapes, sparsities and patterns of the benchmarks of one layer, and which part of them was asked for."""

from __future__ import annotations

import argparse
from functools import lru_cache
from typing import Any

import torch
from layer_calls import connections_of, layouts_of, random_layer
from torch import Tensor

from gossamer.deploy.layouts import Packed

SHAPES = "768x3072,3072x768,512x512,4096x4096,1024x4096,256x256,1000x1000"  # inputs x outputs
SPARSITIES = "75,80,87.5,90,93.75,95,98,99"
PATTERNS = ("unstructured", "fanin", "fanin:4", "fanin:8")
TILES = {75.0: "nm:2:8", 87.5: "nm:1:8", 93.75: "nm:1:16"}  # sparsities that N:M has


def chosen(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every case of ``--shapes``, ``--sparsities`` and ``--batches``, in this order."""
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    sparsities, batches = (text.split(",") for text in (options.sparsities, options.batches))
    return [
        {"inputs": inputs, "outputs": outputs, "sparsity": float(sparsity), "batch": int(batch)}
        for inputs, outputs in shapes
        for sparsity in sparsities
        for batch in batches
    ]


@lru_cache(maxsize=1)
def layers(inputs: int, outputs: int, sparsity: float) -> tuple[Tensor, dict[str, tuple[int, Packed]]]:
    """The dense weight of the unstructured layer for rivals, and name -> (connections, layout) of ours."""
    density, tile = 1 - sparsity / 100, TILES.get(sparsity)
    fits = tile is not None and inputs % int(tile.split(":")[2]) == 0
    made = [random_layer(name, density, inputs, outputs) for name in (*PATTERNS, *([tile] if fits else []))]
    ours = {name: (layer.connections, form) for layer in made for name, form in layouts_of(layer).items()}
    return connections_of(made[0]).dense(), ours


def inputs_of(case: dict[str, Any]) -> Tensor:
    """[batch, inputs], batch-major, as a caller has it; always the same."""
    return torch.randn(case["batch"], case["inputs"], generator=torch.Generator().manual_seed(1))
