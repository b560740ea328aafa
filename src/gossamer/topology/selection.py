"""Choosing the best positions when all scores together would not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, sqrt

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.patterns import Grid, Pattern
from gossamer.topology import parts
from gossamer.topology.held import BELOW_ALL, Held
from gossamer.topology.parts import Part
from gossamer.topology.passes import Selector, Tile, TorchSelector

SAMPLE = 32  # one unit in so many is looked at beforehand, at most
LINES = 512  # rows in a sample of a layer that is one bucket


@dataclass(frozen=True)
class TileScores:
    """Scores of every position of a layer, made a tile at a time from its dense gradient.

    Args:
        grid: Grid - the layer.
        rows: callable (slice of the grid's rows, slice of its columns) -> [rows * h, columns * w] float, on the CPU -
            their gradient, contiguous and in memory of its own: it is overwritten.
        what: str - named in errors, e.g. "gradient of fc1".
        selector: Selector - chooses in a tile; the definition in torch, or a compiled one.
        given: callable like ``rows``, or None - what ``selector`` takes in place of that gradient.
    Cost: a pass costs what ``rows`` costs for the whole layer; memory is one tile plus what is selected.
    Source: streaming top-k in place of the dense gradient of RigL (Evci et al. 2020).
    """

    grid: Grid
    rows: Callable[[slice, slice], Tensor]
    what: str = "scores"
    selector: Selector = field(default_factory=TorchSelector)
    given: Callable[[slice, slice], Tile] | None = None

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """The gradient itself, to be read by a rule with a score of its own; never all of it at once.

        Returns:
            iterator of (rows, columns, [rows * h, columns * w]) - slices of the grid and the gradient of their units,
            with its sign, on the CPU; a caller may overwrite it. The tiles cover the layer.
        Cost: that of the dense gradient, and memory of one tile.
        Example:
            >>> s = torch.tensor([[1., -9., 5.], [4., 2., 8.]])
            >>> t = TileScores(Grid(2, 3, 1, 1), lambda rows, cols: s[rows, cols].clone())
            >>> sum(float(gradient.sum()) for rows, cols, gradient in t.tiles())
            11.0
        """
        for part in parts.parts(self.grid, self.grid.size, self.grid.size):
            yield part.rows, part.cols, self.rows(part.rows, part.cols)

    def at(self, positions: Tensor) -> Tensor:
        """The gradient at some positions.

        Args:
            positions: [n], int64 - ascending.
        Returns:
            [n, members] - with its sign.
        Raises:
            NonFiniteError: it is NaN or infinite there.
        Cost: one pass over the tiles that hold a position; memory of one tile and of the result.
        Example:
            >>> s = torch.tensor([[1., -9., 5.], [4., 2., 8.]])
            >>> t = TileScores(Grid(2, 3, 1, 1), lambda rows, cols: s[rows, cols].clone())
            >>> t.at(torch.tensor([1, 5])).tolist()
            [[-9.0], [8.0]]
        """
        found = torch.empty(0)
        for part in parts.parts(self.grid, self.grid.size, positions.numel()):
            inside = part.inside(positions)
            if not found.numel() or inside.numel():
                units = Pattern.units(self.rows(part.rows, part.cols), part.grid)[inside]
                if not found.numel():
                    found = units.new_zeros(positions.numel(), self.grid.members)
                found[torch.searchsorted(positions, part.in_layer(inside))] = units
        if not bool(torch.isfinite(found).all()):
            raise self._not_finite()
        return found

    def select(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """The best free positions of every bucket.

        Args:
            taken: [n], int64 - ascending positions that may not be chosen.
            want: [buckets], int64 - how many to choose in each bucket, at most what is free.
            bucket: int - positions per bucket: the layer, or a divisor of a row.
        Returns:
            [sum(want)], int64 - ascending.
        Raises:
            NonFiniteError: a score is NaN or infinite.
        Cost: one pass; O(tile + chosen) memory. A second pass where buckets are cut by tiles and a sample misleads.
        Example:
            >>> s = torch.tensor([[1., 9., 5.], [4., 2., 8.]])
            >>> t = TileScores(Grid(2, 3, 1, 1), lambda rows, cols: s[rows, cols].clone())
            >>> t.select(torch.tensor([1]), torch.tensor([2]), 6).tolist()  # the layer is one bucket
            [2, 5]
            >>> t.select(torch.tensor([1]), torch.tensor([1, 1]), 3).tolist()  # every row is one
            [2, 5]
        """
        tiles = parts.parts(self.grid, bucket, taken.numel() + int(want.sum()))
        try:
            if parts.cuts(tiles, bucket):
                return self._in_pieces(tiles, taken, want, bucket)
            return self._whole(tiles, taken, want, bucket)
        except NonFiniteError:
            raise self._not_finite() from None

    def _not_finite(self) -> NonFiniteError:
        return NonFiniteError(
            "topology update",
            expected=f"finite {self.what}",
            got="NaN or infinity",
            hint="lower the learning rate or clip gradients; nothing was changed",
        )

    def _tile(self, part: Part) -> Tile:
        """What the selector takes."""
        return (self.given or self.rows)(part.rows, part.cols)

    def _whole(self, tiles: list[Part], taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """Buckets that lie inside a tile are finished tile by tile."""
        # Filled in place: small results kept between the large tiles would leave the heap in splinters.
        chosen, done = torch.empty(int(want.sum()), dtype=torch.int64), 0
        across = want.view(self.grid.rows, -1)
        for part in tiles:
            wanted = across[part.rows, part.cols.start // bucket : part.cols.stop // bucket].reshape(-1)
            inside = part.inside(taken)
            found = self.selector.in_buckets(self._tile(part), part.grid, inside, wanted, bucket)
            chosen[done : done + found.numel()] = part.in_layer(found)
            done += found.numel()
        return chosen if tiles[0].whole_rows else chosen.sort().values

    def _in_pieces(self, tiles: list[Part], taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """Buckets that tiles cut: with floors that a sample suggests, and without where one was too high."""
        likely = self._likely_floors(taken, want, bucket)
        chosen = self._running(tiles, taken, want, bucket, likely)
        if chosen.numel() < int(want.sum()) and bool((likely != BELOW_ALL).any()):
            return self._running(tiles, taken, want, bucket, torch.full_like(likely, BELOW_ALL))
        return chosen

    def _running(self, tiles: list[Part], taken: Tensor, want: Tensor, bucket: int, floors: Tensor) -> Tensor:
        """Keep the best so far and let later tiles beat its smallest; fewer than wanted where a floor is too high."""
        held = Held(want, bucket, floors, self.selector, tiles[0].grid.size, tiles[0].whole_rows)
        for part in tiles:
            tile = self._tile(part)
            floor = held.floor(part.rows.start * self.grid.cols, part.rows.stop * self.grid.cols)
            scores, positions = held.space(tile.dtype)
            found = self.selector.above(tile, part.grid, part.inside(taken), floor, scores, positions)
            held.add(scores[:found], part.in_layer(positions[:found]))
        return held.best()

    def _likely_floors(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """For each bucket a floor that somewhat more scores than wanted exceed, from a sample; BELOW_ALL if small."""
        floors = torch.full((want.numel(),), BELOW_ALL, dtype=torch.float64)
        units, one = parts.TILE // SAMPLE, want.numel() == 1
        if bucket < self.grid.cols or self.grid.size * self.grid.members < parts.TILE:
            return floors
        part = parts.sample(self.grid, LINES if one else self.grid.rows, units)
        grid, tile = part.grid, self._tile(part)
        scores, positions = (
            torch.empty(grid.size, dtype=tile.dtype),
            torch.empty(grid.size, dtype=torch.int64),
        )
        found = self.selector.above(tile, grid, part.inside(taken), BELOW_ALL, scores, positions)
        edges = torch.arange(want.numel() + 1) * (grid.size // want.numel())
        ends = torch.searchsorted(positions[:found], edges).tolist()
        # A row's scores rise and fall together, and so do a column's: they count as one.
        spread = 4 / sqrt(min(grid.rows, grid.cols) if one else grid.cols)
        for number, wanted in enumerate((want * (grid.size / self.grid.size)).tolist()):
            here = slice(ends[number], ends[number + 1])
            rank = ceil(wanted * (1 + spread) + 4 * sqrt(wanted)) + 8
            if rank <= (here.stop - here.start) // 2:
                least = self.selector.keep(scores[here], positions[here], rank)
                floors[number] = least * (1 - 1 / 64) if least else BELOW_ALL  # equal scores are wanted too
        return floors
