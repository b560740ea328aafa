"""Selection among gradient rows by the compiled core: what growth does with one tile."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossamer.errors import NonFiniteError, ShapeError
from gossamer.kernels.cpu import library, pack

if TYPE_CHECKING:
    from torch import Tensor

SCORES: Final = struct.Struct("11q")
NOT_FINITE: Final = 10


class GrowthPasses:
    """The passes of a streaming selection over tiles of gradient rows, as ``topology.Passes`` defines them.

    Args:
        isa: str - instruction set.
    Cost: each pass reads its tile once, or a few times where it is in cache.
    Example:
        >>> import torch
        >>> tile, none = torch.tensor([[1., -9., 5., 0.]]), torch.empty(0, dtype=torch.int64)
        >>> GrowthPasses("scalar").in_buckets(tile, (1, 4, 1, 1), 0, none, torch.tensor([2]), 4).tolist()
        [1, 2]
    """

    def __init__(self, isa: str) -> None:
        self._core, self._isa = library.core(), library.ISAS[isa]

    def in_buckets(
        self, tile: Tensor, grid: Sequence[int], first: int, taken: Tensor, want: Tensor, bucket: int
    ) -> Tensor:
        """Ascending positions of the ``want[b]`` best in each bucket; raises NonFiniteError."""
        want = want.contiguous()
        chosen = want.new_empty(int(want.sum()))
        status = self._core.gs_grow_in_buckets(
            self._pack(tile, grid, first, taken), bucket, want.data_ptr(), chosen.data_ptr(), chosen.numel()
        )
        _check("in_buckets", status)
        return chosen

    def above(
        self,
        tile: Tensor,
        grid: Sequence[int],
        first: int,
        taken: Tensor,
        floor: float,
        scores: Tensor,
        positions: Tensor,
    ) -> int:
        """Write scores above ``floor`` and their positions, ascending, to the front; how many. NonFiniteError."""
        found = ctypes.c_int64()
        status = self._core.gs_grow_above(
            self._pack(tile, grid, first, taken), floor, scores.data_ptr(), positions.data_ptr(),
            min(scores.numel(), positions.numel()), ctypes.byref(found),
        )  # fmt: skip
        _check("above", status)
        return found.value

    def keep(self, scores: Tensor, positions: Tensor, k: int) -> float:
        """Bring the k best to the front, in order; the smallest of them, 0 for none."""
        least = ctypes.c_double()
        status = self._core.gs_grow_best(
            pack.DTYPES[pack.dtype_name(scores)][0], self._isa, scores.data_ptr(), positions.data_ptr(),
            scores.numel(), k, ctypes.byref(least),
        )  # fmt: skip
        _check("keep", status)
        return least.value

    def _pack(self, tile: Tensor, grid: Sequence[int], first: int, taken: Tensor) -> bytes:
        rows, cols, h, w = grid
        if tile.numel() != rows * cols * h * w or not tile.is_contiguous():
            raise ShapeError("growth", expected=f"a tile of grid {tuple(grid)}", got=f"{tuple(tile.shape)}")
        return SCORES.pack(
            pack.DTYPES[pack.dtype_name(tile)][0], self._isa, rows, cols, h, w, first, taken.numel(),
            tile.data_ptr(), taken.data_ptr(), library.parallel_for(),
        )  # fmt: skip


def _check(name: str, status: int) -> None:
    if status == NOT_FINITE:
        raise NonFiniteError("growth", expected="finite scores", got="NaN or infinity")
    if status:
        raise ShapeError(
            f"kernels.cpu.growth.{name}",
            expected="a tile, taken positions inside it, and no more wanted than is free",
            got=f"{library.status_text(status)} (status {status})",
        )
