"""The product with a batch whose samples are sparse: work for numbers that are there, on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.reference.coordinates import coordinates

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 20  # multiplications held at once


class ByInput(NamedTuple):
    """The connections of a layer in the order of its inputs.

    Args:
        starts: [n_in + 1], int64 - first connection of each input.
        rows: [connections], int32 - the neuron it leads to.
        order: [connections], int32 or int64 - where its value is.
    """

    starts: Tensor
    rows: Tensor
    order: Tensor


def by_input(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> ByInput:
    """Sort a layer's connections by their inputs; made once for a topology.

    Args:
        index: the layout's integer tensors.
        layout: str.
        shape: the layout's integers, [n_out, n_in, ...].

    Returns:
        ByInput.

    Cost: O(connections log connections) time; 8 bytes a connection are kept.
    """
    row, col = coordinates(index, layout, shape)
    order = torch.argsort(col, stable=True)
    starts = torch.zeros(shape[1] + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(col, minlength=shape[1]).cumsum(0)
    wide = torch.int32 if order.numel() < 1 << 31 else torch.int64
    return ByInput(starts, row[order].to(torch.int32), order.to(wide))


def linear_of_sparse(
    x: Tensor, values: Tensor, connections: ByInput, bias: Tensor | None, n_out: int
) -> Tensor:
    """``y = x W^T + bias`` for sparse x and W.

    Args:
        x: [batch, n_in], ``torch.sparse_csr`` on the CPU, dtype of values; gets no gradient.
        values: [>= connections] - flat.
        connections: ByInput.
        bias: [n_out] or None.
        n_out: int.

    Returns:
        [batch, n_out], dense.

    Raises:
        ShapeError, DtypeError.

    Cost: O(stored numbers of x * mean fan-out) time, forward and for the gradient of values; memory for y and a few MB.

    Example:
        >>> index = [torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([0, 2]).to(torch.uint16)]
        >>> x = torch.tensor([[1.0, 0.0, 3.0]]).to_sparse_csr()
        >>> linear_of_sparse(x, torch.tensor([10.0, 1.0]), by_input(index, "csr", [2, 3]), None, 2)
        tensor([[10.,  3.]])
    """
    if x.dim() != 2 or x.shape[1] != connections.starts.numel() - 1:
        raise ShapeError(
            "linear of a sparse batch",
            expected=f"x [batch, {connections.starts.numel() - 1}]",
            got=f"{tuple(x.shape)}",
        )
    if x.layout != torch.sparse_csr or x.dtype != values.dtype or x.requires_grad:
        raise DtypeError(
            "linear of a sparse batch",
            expected=f"torch.sparse_csr of {values.dtype}, without gradient",
            got=f"{x.layout} of {x.dtype}, requires_grad={x.requires_grad}",
        )
    parts = (x.crow_indices(), x.col_indices(), x.values())
    y: Tensor = _SparseInput.apply(values, *parts, connections, n_out)
    return y if bias is None else y + bias


class _SparseInput(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, crow: Tensor, col: Tensor, data: Tensor, connections: ByInput, n_out: int
    ) -> Tensor:
        ctx.save_for_backward(crow, col, data, *connections)
        ctx.sizes = (values.shape[0], n_out)
        y = values.new_zeros(crow.numel() - 1, n_out)
        flat = y.view(-1)
        for number, place, value in _pairs(crow, col, connections, n_out):
            flat.index_add_(0, place, data[number] * values[value])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        crow, col, data, *connections = ctx.saved_tensors
        size, n_out = ctx.sizes
        flat = grad.contiguous().view(-1)
        dv = grad.new_zeros(size)
        for number, place, value in _pairs(crow, col, ByInput(*connections), n_out):
            dv.index_add_(0, value, data[number] * flat[place])
        return dv, None, None, None, None, None


def _pairs(
    crow: Tensor, col: Tensor, connections: ByInput, n_out: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every number of x with every connection that leaves its input, so many at once.

    Yields:
        (number of x, flat place in y, value): int64 vectors.
    """
    col = col.long()
    sample = torch.repeat_interleave(torch.arange(crow.numel() - 1), crow.long().diff())
    first = connections.starts[col]
    counts = connections.starts[col + 1] - first
    ends = counts.cumsum(0)
    total = int(ends[-1]) if ends.numel() else 0
    cuts = torch.searchsorted(ends, torch.arange(1, total // CHUNK + 1) * CHUNK).tolist()
    for lo, hi in zip([0, *cuts], [*cuts, col.numel()], strict=True):
        many = counts[lo:hi]
        number = torch.repeat_interleave(torch.arange(lo, hi), many)
        inside = torch.arange(number.numel()) - torch.repeat_interleave(many.cumsum(0) - many, many)
        connection = first[number] + inside
        yield (
            number,
            sample[number] * n_out + connections.rows[connection],
            connections.order[connection].long(),
        )
