"""Draw the explanatory pictures of the documentation as SVG: ``python docs/figures.py``.

What they show is computed by the library itself, so a picture cannot tell another story than the code.
"""

# ruff: noqa: INP001 (a script)

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from drawing import DROPPED, GROWN, KEPT, PALE, SOFT, Cells, Drawing, matrix

import gossamer as gs
from gossamer.patterns import Pattern, parse
from gossamer.rules import LayerView
from gossamer.topology import TileScores, Topology, TopologyChange

ASSETS = Path(__file__).parent / "assets"


def storage() -> Drawing:
    """Dense, masked and packed: what each of them holds for one layer."""
    picture = Drawing(860, 268, "One layer with 8 outputs and 16 inputs, stored dense, masked and packed")
    layer = gs.SparseLinear(16, 8, bias=False, density=0.25, generator=torch.Generator().manual_seed(4))
    mask = layer.topology.mask()
    size, top = 14, 62
    dense = layer.in_features * layer.out_features * 4
    index = sum(tensor.numel() * tensor.element_size() for tensor in layer.operands())
    values = layer.values.numel() * layer.values.element_size()
    everything = [[KEPT] * 16 for _ in range(8)]
    masked = [[KEPT if bit else PALE for bit in row] for row in mask.tolist()]
    for x, name, colours in ((30, "dense", everything), (314, "masked: zeros are stored too", masked)):
        picture.heading(x, 34, name)
        matrix(picture, x, top, size, colours)
    picture.text(30, 200, f"weights: {dense} bytes")
    picture.text(30, 220, "multiplications per sample: 128", SOFT)
    picture.text(314, 200, f"weights: {dense} bytes + {mask.numel()} of mask")
    picture.text(314, 220, "multiplications per sample: 128", SOFT)
    picture.heading(598, 34, "packed: connections only")
    columns = layer.col.to(torch.int64).tolist()
    fan_in = len(columns[0])
    picture.text(598, top - 8, "values", SOFT, size=11)
    matrix(picture, 598, top, size, [[KEPT] * fan_in for _ in columns])
    picture.text(690, top - 8, "input of each", SOFT, size=11)
    matrix(
        picture,
        690,
        top,
        size,
        [[PALE] * fan_in for _ in columns],
        [[str(c) for c in row] for row in columns],
    )
    picture.text(598, 200, f"values: {values} bytes + {index} of indices")
    picture.text(598, 220, f"multiplications per sample: {layer.connections}", SOFT)
    picture.text(
        30,
        250,
        "Indices are 16-bit. Gradients and optimizer state have the size of the values.",
        SOFT,
        size=12,
    )
    return picture


def patterns() -> Drawing:
    """What four patterns allow on the same layer; frames are buckets."""
    picture = Drawing(860, 214, "Buckets and quotas of four patterns on a layer with 4 outputs and 8 inputs")
    size, top = 22, 54
    shown = (
        ("unstructured", 0.25, "any 8 in the layer"),
        ("fanin", 0.25, "2 in each row"),
        ("fanin:2", 0.25, "2 rows share 2 inputs"),
        ("nm:1:4", 0.25, "1 of every 4 inputs"),
    )
    for number, (name, density, says) in enumerate(shown):
        pattern, x = parse(name), 24 + number * 210
        grid = pattern.grid((4, 8))
        units = pattern.budget(density, (4, 8))
        positions = pattern.sample(units, grid, torch.Generator().manual_seed(3))
        mask = Topology(pattern, (4, 8), positions).mask()
        picture.heading(x, 34, repr(pattern))
        matrix(picture, x, top, size, [[KEPT if bit else PALE for bit in row] for row in mask.tolist()])
        frames(picture, pattern, x, top, size)
        picture.text(x, top + 4 * size + 26, says, SOFT)
        picture.text(
            x,
            top + 4 * size + 46,
            f"bucket {pattern.bucket(grid)}, quota {int(pattern.quotas(units, grid)[0])}",
            SOFT,
        )
    return picture


def frames(drawing: Drawing, pattern: Pattern, x: float, y: float, size: float) -> None:
    """Outline the buckets of a pattern on a 4 x 8 layer."""
    grid = pattern.grid((4, 8))
    bucket = pattern.bucket(grid)
    wide, high = min(bucket, grid.cols) * grid.w * size, max(1, bucket // grid.cols) * grid.h * size
    for first in range(0, grid.size, bucket):
        row, col = divmod(first, grid.cols)
        drawing.box(x + col * grid.w * size, y + row * grid.h * size, wide, high)


@dataclass(frozen=True)
class Example:
    """One RigL update of a small layer: weights, gradients, and what the rule made of them."""

    old: Topology
    values: Tensor
    gradient: Tensor
    survivors: Tensor
    change: TopologyChange


def example() -> Example:
    """Drop 2 of 6 connections, grow 2 by gradient."""
    pattern, shape = gs.Unstructured(), (3, 5)
    old = Topology(pattern, shape, torch.tensor([0, 3, 6, 8, 10, 14]))
    values = torch.tensor([0.9, -0.1, 0.5, 0.2, -0.7, 0.4])
    gradient = torch.tensor([[0.1, 0.3, 0.2, 0.0, 0.8], [0.2, 0.1, 0.4, 0.1, 0.0], [0.3, 0.9, 0.1, 0.2, 0.1]])
    scores = TileScores(old.grid, lambda rows, cols: gradient[rows, cols].clone())
    view = LayerView("layer", old, 6, values.unsqueeze(1), scores, torch.Generator().manual_seed(0))
    rule = gs.RigL(drop=gs.Constant(1 / 3))
    survivors = old.positions[rule.keep(view, 1 / 3 + 1e-9)]
    new = Topology(pattern, shape, rule.update(view, 1 / 3 + 1e-9))
    return Example(old, values, gradient, survivors, TopologyChange.between(old, new))


def rows_of(cells: list[str]) -> Cells:
    """Three rows of five."""
    return [cells[r * 5 : r * 5 + 5] for r in range(3)]


def update() -> Drawing:
    """An update as an index map: the same map moves values and optimizer state."""
    picture, shown, size = Drawing(860, 404, "One topology update: drop, grow, remap"), example(), 40
    old, new = shown.old.positions.tolist(), shown.change.new.positions.tolist()
    kept, weight = shown.survivors.tolist(), dict(zip(old, shown.values.tolist(), strict=True))
    left = [DROPPED if p in old and p not in kept else KEPT if p in old else PALE for p in range(15)]
    right = [KEPT if p in kept else GROWN if p in new else PALE for p in range(15)]
    gradient = shown.gradient.flatten().tolist()
    weights = [f"{weight[p]:g}" if p in weight else "" for p in range(15)]
    gradients = [f"{gradient[p]:g}" if p not in kept else "" for p in range(15)]
    panels = (
        (30, "1. drop the smallest weights", left, weights),
        (322, "2. grow at the largest gradients", right, gradients),
    )
    for x, name, colours, labels in panels:
        picture.heading(x, 32, name)
        matrix(picture, x, 50, size, rows_of(colours), rows_of(labels))
    for y, colour, says in (
        (70, KEPT, "kept"),
        (100, DROPPED, "dropped"),
        (130, GROWN, "grown, starts at zero"),
    ):
        picture.cell(600, y - 14, 18, colour)
        picture.text(628, y, says)
    picture.heading(30, 220, "3. one index map carries values, momentum and every other state of that shape")
    moved = shown.values.clone()
    shown.change.remap_(moved)
    source = shown.change.source.tolist()
    rows = (
        (244, "old position", old, [DROPPED if p not in kept else PALE for p in old]),
        (284, "old value", [f"{v:g}" for v in shown.values.tolist()], [PALE] * 6),
        (334, "new value", [f"{v:g}" for v in moved.tolist()], [GROWN if s < 0 else PALE for s in source]),
        (364, "new position", new, [PALE] * 6),
    )
    for y, name, entries, colours in rows:
        picture.text(30, y + 20, name, SOFT)
        for i, (entry, colour) in enumerate(zip(entries, colours, strict=True)):
            picture.cell(150 + i * 70, y, 30, colour, str(entry))
    for i, origin in enumerate(source):
        if origin >= 0:
            picture.arrow(165 + origin * 70, 315, 165 + i * 70, 332)
    picture.text(600, 290, f"source = {source}")
    picture.text(600, 312, "-1: grown", SOFT)
    return picture


def modules() -> Drawing:
    """Which folder may import which: downwards only."""
    picture = Drawing(860, 376, "Which folder may import which: structure, arithmetic, shipping")
    folders = (
        (30, 20, 800, "cli · report · runs", "commands, plots, recorded trainings"),
        (30, 66, 800, "training · parallel · compress · estimators · freezing · invariance", "whole jobs"),
        (30, 112, 390, "trace", "reads a torch model as a graph"),
        (440, 112, 390, "models", "networks by name"),
        (30, 186, 255, "rules", "which come and go"),
        (30, 232, 255, "topology", "which exist now"),
        (30, 278, 255, "patterns", "which are allowed"),
        (302, 186, 255, "nn", "layers"),
        (302, 232, 255, "ops", "operators"),
        (302, 278, 255, "kernels", "one table"),
        (575, 186, 255, "runtime", "arrays, no torch"),
        (575, 232, 255, "network", "graph, operators, file"),
        (30, 324, 800, "layouts", "how the connections of a layer are stored, one file each"),
    )
    for x, y, width, name, says in folders:
        picture.box(x, y, width, 38, KEPT, PALE)
        picture.heading(x + 14, y + 24, name)
        picture.text(x + width - 14, y + 24, says, SOFT, "end", 12)
    for x, part in ((157, "structure"), (429, "arithmetic"), (702, "shipping")):
        picture.text(x, 174, part, SOFT, "middle", 12)
    return picture


def main() -> None:
    """Write all of them."""
    ASSETS.mkdir(exist_ok=True)
    for draw in (storage, patterns, update, modules):
        (ASSETS / f"{draw.__name__}.svg").write_text(str(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
