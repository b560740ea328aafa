"""A layer in rectangles of units, as growth looks at it, and where their units are in the layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from gossamer.patterns import Grid

TILE = 1 << 21  # gradients held at once: 8 MiB of fp32, which the last cache level keeps for the selection
ROWS = 64  # but at least so many rows, or a product is slow; where these are more, rows are cut
CUT = 16  # a tile of cut rows may be so much smaller: what is found in it takes memory, too
WHOLE = 4  # rows that are buckets are cut at so many times the length: what is found in them takes none


@dataclass(frozen=True)
class Part:
    """Some rows and columns of a layer's units.

    Args:
        layer: Grid - the whole layer.
        rows, cols: slice - with start and stop, of units; a step means a sample.
    Example:
        >>> part = Part(Grid(4, 10, 1, 1), slice(2, 4), slice(5, 8))
        >>> part.grid, part.inside(torch.tensor([0, 25, 30, 36])).tolist()
        (Grid(rows=2, cols=3, h=1, w=1), [0, 4])
        >>> part.in_layer(torch.tensor([0, 4])).tolist()
        [25, 36]
    """

    layer: Grid
    rows: slice
    cols: slice

    @property
    def grid(self) -> Grid:
        """The part as a layer of its own."""
        rows, cols = (len(range(s.start, s.stop, s.step or 1)) for s in (self.rows, self.cols))
        return self.layer._replace(rows=rows, cols=cols)

    @property
    def whole_rows(self) -> bool:
        """Neighbouring rows from end to end: its positions are a range of the layer's."""
        return self.grid.cols == self.layer.cols and (self.rows.step or 1) == 1

    def inside(self, positions: Tensor) -> Tensor:
        """Those of some ascending positions of the layer that lie in the part, as positions of the part; ascending."""
        cols, grid = self.layer.cols, self.grid
        if self.whole_rows:
            first = self.rows.start * cols
            lo, hi = torch.searchsorted(positions, torch.tensor([first, first + grid.size])).tolist()
            return positions[lo:hi].sub(first)
        if (self.cols.step or 1) > 1:  # few units, spread over all positions
            every = self.in_layer(torch.arange(grid.size))
            nearest = torch.searchsorted(positions, every).clamp_(max=max(positions.numel() - 1, 0))
            met = positions[nearest] == every if positions.numel() else every < 0
            return met.nonzero().squeeze(1)
        begin = torch.arange(self.rows.start, self.rows.stop, self.rows.step or 1) * cols + self.cols.start
        lo = torch.searchsorted(positions, begin)
        counts = torch.searchsorted(positions, begin + (self.cols.stop - self.cols.start)) - lo
        row = torch.repeat_interleave(torch.arange(grid.rows), counts)
        at = torch.arange(row.numel()) + (lo - (counts.cumsum(0) - counts))[row]
        return at.copy_(positions[at] - begin[row]).add_(row.mul_(grid.cols))

    def in_layer(self, positions: Tensor) -> Tensor:
        """Positions of the part as positions of the layer."""
        if self.whole_rows:
            return positions.add(self.rows.start * self.layer.cols)
        width = self.grid.cols
        row = positions.div(width, rounding_mode="floor")
        col = positions - row * width
        row.mul_(self.rows.step or 1).add_(self.rows.start).mul_(self.layer.cols)
        col.mul_(self.cols.step or 1).add_(self.cols.start)
        row.add_(col)
        return row


def parts(grid: Grid, bucket: int, units: int) -> list[Part]:
    """The rectangles that growth looks at one after the other: whole rows, or stripes of columns where rows are long.

    Args:
        grid: Grid - the layer.
        bucket: int - positions of a bucket: where rows are cut, one that is shorter than a stripe stays in one piece.
        units: int - that are in memory anyway: a tile of cut rows has at most an eighth of that, or ``TILE // CUT``.
    Returns:
        list of Part - they cover the layer; a stripe is finished before the next one.
    Cost: O(parts).
    Example:
        >>> len(parts(Grid(1024, 4096, 1, 1), 4096, 0)), len(parts(Grid(64, 2_000_000, 1, 1), 128_000_000, 0))
        (2, 977)
        >>> len(parts(Grid(64, 2_000_000, 1, 1), 128_000_000, 1_280_000))
        800
    """
    least = min(ceil(ROWS / grid.h), grid.rows)
    step, width = max(least, TILE // (grid.cols * grid.members)), grid.cols
    if least * grid.cols * grid.members > (TILE if bucket > grid.cols else WHOLE * TILE):
        tile = min(max(TILE // CUT, units * grid.members // 8), TILE)
        width = max(tile // (least * grid.members), 1)
        width = width // bucket * bucket or width
    return [
        Part(grid, slice(r, min(r + step, grid.rows)), slice(c, min(c + width, grid.cols)))
        for c in range(0, grid.cols, width)
        for r in range(0, grid.rows, step)
    ]


def cuts(found: list[Part], bucket: int) -> bool:
    """Whether a bucket lies in more than one of the parts."""
    width = found[0].grid.cols
    return bucket > found[0].layer.cols or (width < found[0].layer.cols and width % bucket > 0)


def sample(grid: Grid, lines: int, units: int) -> Part:
    """At most about ``units`` units of a layer, in some ``lines`` of its rows and spread over its columns.

    Cost: O(1).
    Example:
        >>> sample(Grid(1024, 4096, 1, 1), 512, 1 << 18).grid
        Grid(rows=512, cols=512, h=1, w=1)
    """
    down = max(1, grid.rows // lines)
    rows = slice(down // 2, grid.rows, down)
    across = max(1, ceil(len(range(*rows.indices(grid.rows))) * grid.cols / max(units, 1)))
    return Part(grid, rows, slice(min(across // 2, grid.cols - 1), grid.cols, across))
