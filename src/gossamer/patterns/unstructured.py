"""Unstructured sparsity: any connection may exist; stored row-compressed (CSR)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import DensityError, TopologyError
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import (
    Index,
    Pattern,
    Shape,
    add_narrow_,
    check_range,
    narrow,
    patterns,
    remainders,
    whole,
)


@patterns.register("unstructured")
@dataclass(frozen=True)
class Unstructured(Pattern):
    """Any set of connections; only their number in the layer is fixed.

    Example:
        >>> p = Unstructured(); p.budget(0.1, (300, 784))
        23520
    """

    layout = "csr"

    def bucket(self, grid: Grid) -> int:
        """The whole layer is one bucket."""
        return grid.size

    def budget(self, density: float, shape: Shape) -> int:
        """``size - floor((1 - density) * size)`` connections: zeros are rounded down, as RigL's code does."""
        size = self.grid(shape).size
        if not 0 < density <= 1:
            raise DensityError(
                f"{self} on {shape}", expected=f"a density from {1 / size:.3g} to 1", got=str(density)
            )
        return size - whole((1 - density) * size)

    def quotas(self, units: int, grid: Grid) -> Tensor:
        """All units in the one bucket."""
        return torch.tensor([units])

    def encode(self, positions: Tensor, grid: Grid) -> Index:
        """``row_ptr`` [rows + 1] and ``col`` [units]."""
        row_ptr = torch.searchsorted(positions, torch.arange(grid.rows + 1) * grid.cols)
        wide = torch.int32 if positions.numel() < 1 << 31 else torch.int64
        return {"row_ptr": row_ptr.to(wide), "col": remainders(positions, grid.cols, narrow(grid.cols))}

    def decode(self, index: Index, grid: Grid) -> Tensor:
        """Positions from ``row_ptr`` and ``col``."""
        row_ptr, col = index["row_ptr"].to(torch.int64), index["col"]
        fits = row_ptr.shape == (grid.rows + 1,) and col.dim() == 1
        if (
            not fits
            or (int(row_ptr[0]), int(row_ptr[-1])) != (0, col.numel())
            or bool((row_ptr.diff() < 0).any())
        ):
            ends = f" from {int(row_ptr[0])} to {int(row_ptr[-1])}" if fits else ""
            raise TopologyError(
                f"{self}.decode",
                expected=f"{grid.rows + 1} ascending row pointers from 0 to {col.numel()}, and a vector of columns",
                got=f"shapes {tuple(row_ptr.shape)} and {tuple(col.shape)}{ends}",
                hint="the file or the index tensors are damaged",
            )
        check_range(f"{self}.decode", "column", col, grid.cols)
        # NumPy repeats without a vector of indices beside the result.
        first = np.repeat(np.arange(grid.rows) * grid.cols, row_ptr.diff().numpy())
        return add_narrow_(torch.from_numpy(first), col)

    def dims(self, shape: Shape) -> list[int]:
        """[n_out, n_in]."""
        return list(shape)
