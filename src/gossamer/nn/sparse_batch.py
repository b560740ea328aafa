"""Sparse batches from outside torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import DtypeError

CHUNK = 1 << 14  # stored numbers multiplied at once


def batch_of(matrix: Any) -> Tensor:
    """A SciPy sparse matrix as a torch.sparse_csr batch; memory is shared where the format allows.

    Args:
        matrix: scipy.sparse matrix or array, [batch, features], of a dtype torch knows.
    Returns:
        [batch, features], torch.sparse_csr.
    Raises:
        DtypeError: anything else.
    Cost: O(1) for CSR, O(stored numbers) for other formats.
    Example:
        >>> from scipy.sparse import coo_array
        >>> batch_of(coo_array([[0.0, 2.0]])).values()
        tensor([2.], dtype=torch.float64)
    """
    if not hasattr(matrix, "tocsr"):
        raise DtypeError(
            "SparseLinear", expected="a tensor or a SciPy sparse matrix", got=type(matrix).__name__
        )
    rows = matrix.tocsr()
    pointers, columns, numbers = (torch.from_numpy(part) for part in (rows.indptr, rows.indices, rows.data))
    return torch.sparse_csr_tensor(pointers, columns, numbers, rows.shape, check_invariants=True)


def product_of_columns(outputs: Tensor, x: Tensor, cols: slice, width: int) -> Tensor:
    """``outputs^T x`` for some columns of a sparse batch, which is not made dense.

    Args:
        outputs: [batch, rows], float.
        x: [batch, features], torch.sparse_csr.
        cols: slice - of groups of ``width`` neighbouring features.
        width: int.
    Returns:
        [rows, columns * width] of the dtype of ``outputs``.
    Cost: O(stored numbers of x), and O(rows) for each that lies in the columns; memory for these and for the result.
    Example:
        >>> x = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]]).to_sparse_csr()
        >>> product_of_columns(torch.tensor([[1.0], [10.0]]), x, slice(1, 3), 1)
        tensor([[20.,  3.]])
    """
    groups = range(*cols.indices(x.shape[1] // width))
    group = x.col_indices().div(width, rounding_mode="floor")
    met = (group >= groups.start) & (group < groups.stop) & ((group - groups.start) % groups.step == 0)
    met = met.nonzero().squeeze(1)
    sample = torch.searchsorted(x.crow_indices(), met, right=True) - 1
    column = (group[met] - groups.start) // groups.step * width + x.col_indices()[met] % width
    total = outputs.new_zeros(len(groups) * width, outputs.shape[1])
    for first in range(0, met.numel(), CHUNK):
        here = slice(first, first + CHUNK)
        numbers = x.values()[met[here]].to(outputs.dtype).unsqueeze(1)
        total.index_add_(0, column[here], outputs[sample[here]] * numbers)
    return total.T.contiguous()
