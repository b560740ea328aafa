"""A fixed matrix of compressed rows, and its product with dense columns by the kernels of unstructured layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gossamer import ops
from gossamer.measure import nbytes


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse matrix whose values are fixed: gradients flow through its products, not into it.

    Args:
        values: [entries], float.
        row_ptr: [rows + 1], int32 or int64.
        col: [entries], int32 - ascending in every row.
        width: int - columns.
    Example:
        >>> from scipy.sparse import csr_array
        >>> swap = Rows.of(csr_array([[0.0, 1.0], [1.0, 0.0]]), "cpu", torch.float32)
        >>> swap.times(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """

    values: Tensor
    row_ptr: Tensor
    col: Tensor
    width: int

    @classmethod
    def of(cls, matrix: Any, device: Any, dtype: torch.dtype) -> Self:
        """A copy of a SciPy CSR matrix whose columns ascend."""
        with torch.inference_mode(
            mode=False
        ):  # tensors made inside of it cannot be saved for a gradient outside
            parts = (matrix.data, matrix.indptr, matrix.indices.astype(np.int32))
            values, row_ptr, col = (torch.tensor(part, device=device) for part in parts)
            return cls(values.to(dtype), row_ptr, col, matrix.shape[1])

    @property
    def bytes(self) -> int:
        """Values and both indices."""
        return nbytes([self.values, self.row_ptr, self.col])

    def times(self, x: Tensor) -> Tensor:
        """[width, features] to [rows, features], read and written without a copy where a row's features are neighbours.

        Cost: 2 * entries * features operations, and as many for the gradient of ``x``; the first of these transposes
        the index once, which stays beside it.
        """
        shape = [self.row_ptr.numel() - 1, self.width]
        return ops.linear(x.t(), self.values, [self.row_ptr, self.col], None, "csr", shape).t()

    def pick(self, rows: Tensor) -> Rows:
        """Some of the rows, [picked], int64; repeated ones are repeated. O(entries of these rows)."""
        starts, counts = self.row_ptr[:-1].long()[rows], self.row_ptr.diff().long()[rows]
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        take = torch.repeat_interleave(starts - ends[:-1], counts)
        take += torch.arange(take.numel(), device=take.device)
        return Rows(self.values[take], ends, self.col[take], self.width)

    def among(self, columns: Tensor) -> Rows:
        """The same matrix of some columns alone, [columns], int64, ascending, which must hold all of its entries."""
        col = torch.searchsorted(columns, self.col.long()).to(torch.int32)
        return Rows(self.values, self.row_ptr, col, columns.numel())
