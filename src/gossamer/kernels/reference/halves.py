"""Sums in float16 as csr_halves has them: the definition of its bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

TOGETHER: Final = 16  # connections of a row that are added up in float16
DIGITS, LEAST, OVER = (
    11,
    -24,
    65520.0,
)  # of float16: bits, the exponent of its smallest number, what rounds to infinity


def to_half(x: Tensor) -> Tensor:
    """Round once to the nearest float16, ties to even.

    Args:
        x: float64, any shape.

    Returns:
        Tensor - float64; infinite past the range of float16.

    Cost: O(numbers).

    Example:
        >>> import torch
        >>> to_half(torch.tensor([2049.0, 65519.0, 65520.0, 3e-8], dtype=torch.float64)).tolist()
        [2048.0, 65504.0, inf, 5.960464477539063e-08]
    """
    unit = (2.0 ** (x.frexp().exponent - DIGITS).clamp(min=LEAST)).to(x.dtype)
    near = (x / unit).round() * unit
    return (x * float("inf")).where(x.abs() >= OVER, near).where(x.isfinite(), x)


def sums(x: Tensor, values: Tensor, index: Sequence[Tensor], n_out: int) -> Tensor:
    """What the rows of csr add up to, from inputs and values that are rounded to float16.

    Args:
        x: [batch, n_in], floating.
        values: [>= connections], floating.
        index: row pointers and columns.
        n_out: rows.

    Returns:
        [n_out, batch] of x's type. Connections 16 by 16, counted from the start of a row: the even and the odd ones
        apart, each product and sum rounded once to float16, then both together; these sums one after the other in
        float32. What is not finite then is computed again from the inputs as they are, in float64.

    Cost: O(connections * batch), in as many steps as the longest row has connections.

    Example:
        >>> import torch
        >>> index = torch.tensor([0, 2], dtype=torch.int32), torch.tensor([0, 1])
        >>> sums(torch.tensor([[1.0, 2.0], [1e5, 0.0]]), torch.tensor([0.5, 0.25]), index, 1).tolist()
        [[1.0, 50000.0]]
    """
    first, col = index[0].long().to(x.device), index[1].long().to(x.device)
    count = first.diff()
    wide, weight = x.double().t(), to_half(values.double())
    read = to_half(wide)
    total = read.new_zeros(n_out, x.shape[0])
    again = read.new_zeros(n_out, x.shape[0])
    for start in range(0, int(count.max()) if n_out else 0, TOGETHER):
        part = [read.new_zeros(n_out, x.shape[0]) for _ in range(2)]
        for j in range(start, start + TOGETHER):
            rows = (count > j).nonzero()[:, 0]
            at = first[rows] + j
            side = part[j % 2]
            side[rows] = to_half(weight[at, None] * read[col[at]] + side[rows])
            again[rows] += weight[at, None] * wide[col[at]]
        total = (total + to_half(part[0] + part[1])).float().double()
    return total.where(total.isfinite(), again).to(x.dtype)
