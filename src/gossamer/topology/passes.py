"""What growth does with one tile of a gradient: the contract, and its definition in plain torch."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.patterns import Grid
from gossamer.topology.topk import above, best_of_rows, top_mask

# A tensor; or what stands for one until a selector that knows it makes its rows: it has the same shape and dtype.
Tile: TypeAlias = Any


class Selector(Protocol):
    """The steps of a streaming selection; whoever makes the gradient may bring a faster one than `TorchSelector`.

    A tile is [rows * h, cols * w] gradients of a ``Grid(rows, cols, h, w)``; it may be overwritten. Positions count
    from its first unit. The score of a unit is the sum of its absolute gradients: rows first, then columns, in order.
    ``taken`` are ascending positions that may not be chosen.
    """

    def in_buckets(self, tile: Tile, grid: Grid, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """Ascending positions of the ``want[b]`` best in each bucket; raises NonFiniteError."""

    def above(
        self,
        tile: Tile,
        grid: Grid,
        taken: Tensor,
        floor: float,
        scores: Tensor,
        positions: Tensor,
    ) -> int:
        """Write scores above ``floor`` and their positions, ascending, to the front; how many. NonFiniteError."""

    def keep(self, scores: Tensor, positions: Tensor, k: int) -> float:
        """Bring the k best to the front, in order; the smallest of them, 0 for none."""


class TorchSelector:
    """The definition, for every dtype; the compiled selector chooses the same positions."""

    def in_buckets(self, tile: Tensor, grid: Grid, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """A selection over all buckets of the tile at once."""
        flat = self._scores(tile, grid, taken)
        row, column = best_of_rows(flat.view(-1, bucket), want)
        return (column + row * bucket).sort().values

    def above(
        self,
        tile: Tensor,
        grid: Grid,
        taken: Tensor,
        floor: float,
        scores: Tensor,
        positions: Tensor,
    ) -> int:
        """Chunks without a large score are passed over."""
        flat = self._scores(tile, grid, taken)
        better = above(flat, floor)
        scores[: better.numel()] = flat[better]
        positions[: better.numel()] = better
        return better.numel()

    def keep(self, scores: Tensor, positions: Tensor, k: int) -> float:
        """A mask of the k best."""
        best = top_mask(scores, k).nonzero().squeeze(1)
        scores[:k], positions[:k] = scores[best], positions[best]
        return float(scores[:k].min()) if k else 0.0

    @staticmethod
    def _scores(tile: Tensor, grid: Grid, taken: Tensor) -> Tensor:
        """[rows * cols] scores; taken positions score -1, below every real score."""
        members = tile.abs_().view(grid.rows, grid.h, grid.cols, grid.w)
        total = members[:, 0]
        for i in range(1, grid.h):
            total += members[:, i]
        flat = total[:, :, 0]
        for j in range(1, grid.w):
            flat += total[:, :, j]
        flat = flat.reshape(-1)
        if flat.numel() and not bool(
            torch.isfinite(flat.amax())
        ):  # amax keeps NaN, and needs no mask of that size
            raise NonFiniteError("growth", expected="finite scores", got="NaN or infinity")
        flat[taken] = -1.0
        return flat
