"""A product of two thin matrices, computed at stored connections alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossamer.errors import ShapeError
from gossamer.ops import autograd

if TYPE_CHECKING:
    from torch import Tensor


def sampled(
    left: Tensor, right: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """``left @ right`` where the matrix has connections, in the order of its values; differentiable in both.

    It is the gradient of values for a batch of ``rank`` samples, and runs on the same kernels.

    Args:
        left: [n_out, rank], float32 or float64.
        right: [rank, n_in], dtype of left.
        values: [>= used], dtype of left - read for its size alone.
        index: integer tensors of the layout.
        layout: str - of the matrix, as ``ops.linear`` takes it.
        shape: ``[n_out, n_in]`` and the layout's own integers.
    Returns:
        [size of values]; the unused tail is 0.
    Raises:
        ShapeError, DtypeError, TopologyError: operands that do not fit each other.
    Cost: 2 * connections * rank operations; memory for the result alone, nothing of dense size.
    Example:
        >>> import torch
        >>> ptr, col = torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([0, 2]).to(torch.uint16)
        >>> left, right = torch.tensor([[2.0], [3.0]]), torch.tensor([[1.0, 5.0, 7.0]])
        >>> sampled(left, right, torch.zeros(2), [ptr, col], "csr", [2, 3])
        tensor([ 2., 21.])
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        got = f"{list(left.shape)} and {list(right.shape)}"
        raise ShapeError("ops.sampled", expected="left [n_out, rank] and right [rank, n_in]", got=got)
    return autograd.linear_grad_values(left.t(), right, values, index, layout, shape)
