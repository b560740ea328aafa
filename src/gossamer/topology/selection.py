"""Choosing the best positions when all scores together would not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, sqrt

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.patterns import Grid
from gossamer.topology.passes import Passes, Tile, TorchPasses

TILE = 1 << 21  # gradients held at once: 8 MiB of fp32, which the last cache level keeps for the selection
ROWS = 64  # but at least so many rows, or a product is slow
SAMPLE = 64  # one row in so many is looked at beforehand where the layer is one bucket
BELOW_ALL = -0.5  # below every score, above the mark of what is taken


@dataclass(frozen=True)
class TileScores:
    """Scores of every position of a layer, made a few rows at a time from its dense gradient.

    Args:
        grid: Grid - the layer.
        rows: callable (slice of the grid's rows) -> [rows * h, cols * w] float, on the CPU - their gradient, contiguous
            and in memory of its own: it is overwritten. Or what ``passes`` take in its place.
        what: str - named in errors, e.g. "gradient of fc1".
        passes: Passes - what is done with a tile; the definition in torch, or compiled ones.
    Cost: a pass costs what ``rows`` costs for the whole layer; memory is one tile plus what is selected.
    Source: streaming top-k in place of the dense gradient of RigL (Evci et al. 2020).
    """

    grid: Grid
    rows: Callable[[slice], Tile]
    what: str = "scores"
    passes: Passes = field(default_factory=TorchPasses)

    def tiles(self) -> Iterator[tuple[int, Tile]]:
        """(position of the first unit, gradient) of each tile."""
        step = max(ceil(ROWS / self.grid.h), TILE // (self.grid.cols * self.grid.members))
        for lo in range(0, self.grid.rows, step):
            yield lo * self.grid.cols, self.rows(slice(lo, min(lo + step, self.grid.rows)))

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
        Cost: one pass; O(tile + chosen) memory. A second pass where the layer is one bucket and a sample of its rows
            misleads.
        Example:
            >>> s = torch.tensor([[1., 9., 5.], [4., 2., 8.]])
            >>> t = TileScores(Grid(2, 3, 1, 1), lambda part: s[part].clone())
            >>> t.select(torch.tensor([1]), torch.tensor([2]), 6).tolist()  # the layer is one bucket
            [2, 5]
            >>> t.select(torch.tensor([1]), torch.tensor([1, 1]), 3).tolist()  # every row is one
            [2, 5]
        """
        try:
            if bucket == self.grid.size and self.grid.rows > 1:
                return self._of_layer(taken, int(want[0]))
            return self._of_buckets(taken, want, bucket)
        except NonFiniteError:
            raise NonFiniteError(
                "topology update",
                expected=f"finite {self.what}",
                got="NaN or infinity",
                hint="lower the learning rate or clip gradients; nothing was changed",
            ) from None

    def _with_taken(self, taken: Tensor) -> Iterator[tuple[int, Grid, Tile, Tensor]]:
        """First position, grid, gradient and taken positions of each tile."""
        for first, tile in self.tiles():
            grid = self.grid._replace(rows=tile.shape[0] // self.grid.h)
            lo, hi = torch.searchsorted(taken, torch.tensor([first, first + grid.size])).tolist()
            yield first, grid, tile, taken[lo:hi]

    def _of_buckets(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """Buckets that lie inside a tile are finished tile by tile."""
        # Filled in place: small results kept between the large tiles would leave the heap in splinters.
        chosen, done = torch.empty(int(want.sum()), dtype=torch.int64), 0
        for first, grid, tile, inside in self._with_taken(taken):
            wanted = want[first // bucket : (first + grid.size) // bucket]
            part = self.passes.in_buckets(tile, grid, first, inside, wanted, bucket)
            chosen[done : done + part.numel()] = part
            done += part.numel()
        return chosen

    def _of_layer(self, taken: Tensor, k: int) -> Tensor:
        """One bucket over all tiles: with a floor that a sample suggests, and without where it was too high."""
        likely = self._likely_floor(taken, k)
        chosen = self._running(taken, k, likely)
        return chosen if chosen.numel() == k or likely == BELOW_ALL else self._running(taken, k, BELOW_ALL)

    def _running(self, taken: Tensor, k: int, floor: float) -> Tensor:
        """Keep the best so far and let later tiles beat its smallest; fewer than k where ``floor`` is too high."""
        held, scores, positions = 0, torch.empty(0), torch.empty(0)
        for first, grid, tile, inside in self._with_taken(taken):
            if first == 0:  # the largest tile; room for it beside what is held, so that weeding out is rare
                scores = torch.empty(2 * k + grid.size, dtype=tile.dtype)
                positions = torch.empty(scores.numel(), dtype=torch.int64)
            held += self.passes.above(tile, grid, first, inside, floor, scores[held:], positions[held:])
            if held > 2 * k:
                floor, held = self.passes.keep(scores[:held], positions[:held], k), k
        k = min(k, held)
        self.passes.keep(scores[:held], positions[:held], k)
        return positions[:k].clone()

    def _likely_floor(self, taken: Tensor, k: int) -> float:
        """A floor that somewhat more than k scores exceed, from rows spread over the layer; BELOW_ALL if small."""
        cols, step = self.grid.cols, max(SAMPLE, ceil(self.grid.size * self.grid.members / TILE))
        chosen = range(step // 2, self.grid.rows, step)
        share, spread = len(chosen) / self.grid.rows, 4 / sqrt(len(chosen) or 1)
        rank = ceil(k * share * (1 + spread)) + 8
        if spread > 1 or rank > len(chosen) * cols // 2:
            return BELOW_ALL
        tile = self.rows(slice(chosen.start, chosen.stop, step))
        ends = torch.searchsorted(taken, torch.tensor([[r * cols, (r + 1) * cols] for r in chosen])).tolist()
        inside = [
            taken[lo:hi] - (r - n) * cols for n, (r, (lo, hi)) in enumerate(zip(chosen, ends, strict=True))
        ]
        grid = self.grid._replace(rows=len(chosen))
        scores = torch.empty(grid.size, dtype=tile.dtype)
        positions = torch.empty(grid.size, dtype=torch.int64)
        found = self.passes.above(tile, grid, 0, torch.cat(inside), BELOW_ALL, scores, positions)
        if rank > found // 2:
            return BELOW_ALL
        floor = self.passes.keep(scores[:found], positions[:found], rank)
        return floor * (1 - 1 / 64) if floor else BELOW_ALL  # equal scores are wanted too
