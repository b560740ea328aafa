"""Sparse batches, from torch and from outside, in one form: columns ascend in every sample, each at most once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import DtypeError, ShapeError
from gossamer.ops.autograd import transformed

_WHERE = "SparseLinear"

CHUNK = 1 << 14  # stored numbers multiplied at once


def batch_of(batch: Any, dtype: torch.dtype) -> Tensor:
    """A sparse batch as a ``torch.sparse_csr`` tensor; what was given stays as it is.

    Args:
        batch: scipy.sparse matrix or array, [batch, features], columns in any order, repeated ones add up; or a sparse
            tensor, of which those in CSR may be as loose.
        dtype: torch.dtype - whole numbers of a SciPy matrix become this.
    Returns:
        [batch, features], torch.sparse_csr; a tensor that cannot be one is returned for the product to refuse.
    Raises:
        DtypeError: neither of both, numbers that torch does not have, or a transform of torch.func around the call.
        ShapeError: indices that point outside.
    Cost: one look at every stored number; a copy where columns are out of order, repeated, or in another format.
    Example:
        >>> from scipy.sparse import csr_array
        >>> twice = csr_array(([1.0, 2.0, 3.0], [2, 0, 2], [0, 3]), (1, 4))
        >>> batch_of(twice, torch.float64).to_dense().tolist()
        [[2.0, 0.0, 4.0, 0.0]]
    """
    if transformed():
        raise DtypeError(
            _WHERE,
            expected="a dense batch inside transforms of torch.func",
            got="a sparse one, which they do not know",
            hint="call .to_dense() on a tensor, .toarray() on a SciPy matrix",
        )
    if isinstance(batch, Tensor):
        return batch if batch.layout != torch.sparse_csr or batch.dim() != 2 else _ordered(batch)
    if not hasattr(batch, "tocsr"):
        raise DtypeError(_WHERE, expected="a tensor or a SciPy sparse matrix", got=type(batch).__name__)
    if len(batch.shape) != 2:
        raise ShapeError(_WHERE, expected="a matrix [batch, features]", got=str(batch.shape))
    rows = batch.tocsr()
    numbers = (
        rows.data.astype(str(dtype).removeprefix("torch.")) if rows.data.dtype.kind in "iub" else rows.data
    )
    try:
        starts, columns, values = [torch.from_numpy(part if part.flags.writeable else part.copy())
                 for part in (rows.indptr, rows.indices, numbers)]  # fmt: skip
    except TypeError:
        raise DtypeError(_WHERE, expected=f"numbers of {dtype}", got=str(rows.data.dtype)) from None
    return _ordered(_csr(starts, columns, values, tuple(rows.shape)))


def _ordered(batch: Tensor) -> Tensor:
    """The batch itself where its columns ascend, else a copy whose do; repeated ones add up."""
    starts, columns, numbers = batch.crow_indices(), batch.col_indices(), batch.values()
    size, features = batch.shape
    _check(starts, columns, size, features)
    sample = torch.repeat_interleave(torch.arange(size, device=starts.device), starts.diff())
    place = sample * features + columns
    if bool((place.diff() > 0).all()):
        return batch
    places, which = torch.unique(place, return_inverse=True)
    added = numbers.new_zeros(len(places)).index_add_(0, which, numbers)
    counts = torch.bincount(places // features, minlength=size)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return _csr(starts, places % features, added, (size, features))


def _csr(starts: Tensor, columns: Tensor, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Checked here, not by torch, whose words for it are of its own insides."""
    made: Tensor = torch.sparse_csr_tensor(starts, columns, numbers, shape, check_invariants=False)
    return made


def _check(starts: Tensor, columns: Tensor, size: int, features: int) -> None:
    """Refuse what points outside; raises ShapeError."""
    good = len(starts) == size + 1 and int(starts[0]) == 0 and int(starts[-1]) == len(columns)
    good = good and bool((starts.diff() >= 0).all())
    if not good or (len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < features):
        raise ShapeError(
            _WHERE,
            expected=f"a sparse batch with ascending row pointers, and columns from 0 to {features - 1}",
            got="some outside",
        )


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
