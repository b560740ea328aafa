"""Convolutions in torch: how a module's settings read, and what a matrix computes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gossamer.nn import MaskedConv1d, MaskedConv2d, SparseConv1d, SparseConv2d
from gossamer.nn.conv_shape import geometry_of as of_dense
from gossamer.ops.dense_conv import dense_conv

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.layouts.geometry import Geometry


def geometry_of(module: nn.Module) -> Geometry | None:
    """How a convolution moves over its input; None for any other module.

    Example:
        >>> geometry_of(nn.Conv2d(4, 8, 3, padding="same", groups=2)).padding, geometry_of(nn.ReLU())
        ((1, 1, 1, 1), None)
    """
    if type(module) in (nn.Conv1d, nn.Conv2d):
        return of_dense(module)
    sparse = (MaskedConv1d, MaskedConv2d, SparseConv1d, SparseConv2d)
    return module.geometry if isinstance(module, sparse) else None


def over_lines(module: nn.Module) -> bool:
    """Whether a convolution takes [batch, channels, length]: images of one row, for its geometry."""
    return isinstance(module, (nn.Conv1d, MaskedConv1d, SparseConv1d))


def convolution(matrix: Tensor, bias: Tensor | None, geometry: Geometry) -> Callable[[Tensor], Tensor]:
    """What torch computes with a dense weight.

    Args:
        matrix: [out, columns] - tap by tap.
        bias: [out] or None.
        geometry: Geometry.

    Returns:
        [batch, channels, height, width] -> [batch, out, height', width'].

    Example:
        >>> import torch
        >>> from gossamer.layouts.geometry import Geometry
        >>> blur = convolution(torch.ones(1, 9), None, Geometry(1, (3, 3), padding=(1, 1, 1, 1)))
        >>> blur(torch.ones(1, 1, 2, 2)).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    out, inner = matrix.shape[0], geometry.channels // geometry.groups
    # Through a flat copy, so that strides are torch's own: by others its kernels for channels last run.
    flat = matrix.view(out, *geometry.kernel, inner).permute(0, 3, 1, 2).flatten()
    weight = flat.view(out, inner, *geometry.kernel)
    return partial(dense_conv, weight=weight, bias=bias, geometry=geometry)
