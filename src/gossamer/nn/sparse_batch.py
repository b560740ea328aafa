"""Sparse batches from outside torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import DtypeError


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
