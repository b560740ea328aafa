"""Parts of the dense gradient of a convolution, which as a whole is never in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Geometry


def add_gradient_tile(
    total: Tensor, x: Tensor, grad: Tensor, rows: Tensor, columns: Tensor, geometry: Geometry
) -> None:
    """Add the gradient of some rows and columns of the weight as a matrix.

    Args:
        total: [rows, columns] - is added to.
        x: [batch, channels, height, width], dtype of total - with its border.
        grad: [batch, out, height', width'], dtype of total - gradient of the output.
        rows: int64, ascending - of the weight as a matrix.
        columns: int64, ascending.
        geometry: Geometry.
    Cost: 2 * rows * columns * batch * positions operations; memory for what a tap reads of the channels asked for, and
        for the rows of ``grad``.
    Example:
        >>> import torch
        >>> from gossamer.layouts.geometry import Geometry
        >>> total, at = torch.zeros(1, 2), torch.arange(2)
        >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> add_gradient_tile(total, x, torch.ones(1, 1, 1, 2), at[:1], at, Geometry(1, (1, 2)))
        >>> total
        tensor([[3., 5.]])
    """
    inner = geometry.channels // geometry.groups
    upstream = grad.transpose(0, 1)[rows].flatten(1)
    group, tap = rows // (grad.shape[1] // geometry.groups), columns // inner
    for g in group.unique().tolist():
        mine = _span(group, g)
        for t in tap.unique().tolist():
            at = _span(tap, t)
            channels = columns[at] % inner + g * inner
            read = _read_by(x, t, geometry, *grad.shape[2:]).transpose(0, 1)[channels].flatten(1)
            total[mine, at].addmm_(upstream[mine], read.t())


def _span(numbers: Tensor, number: int) -> slice:
    """Where ascending numbers are that one."""
    found = (numbers == number).nonzero()
    return slice(int(found[0]), int(found[-1]) + 1)


def _read_by(x: Tensor, tap: int, geometry: Geometry, height: int, width: int) -> Tensor:
    """[batch, channels, height', width']: what a tap of the kernel reads; a view."""
    starts = (d * k for d, k in zip(geometry.dilation, divmod(tap, geometry.kernel[1]), strict=True))
    sizes = zip(starts, geometry.stride, (height, width), strict=True)
    down, across = (slice(start, start + step * (n - 1) + 1, step) for start, step, n in sizes)
    return x[:, :, down, across]
