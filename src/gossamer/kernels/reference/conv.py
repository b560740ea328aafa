"""The three products of a convolution: its weight made dense, and torch's own. Any floating dtype, any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from gossamer.kernels.reference.coordinates import coordinates

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Geometry

Index = Sequence["Tensor"]


def conv(layout: str) -> Callable[..., Tensor]:
    """``f(x, values, index, bias, shape, geometry)``: the convolution of x with the dense weight, plus the bias.

    Zeros of the weight are multiplied, unlike in the compiled kernels: it takes memory of dense size.
    """

    def call(
        x: Tensor,
        values: Tensor,
        index: Index,
        bias: Tensor | None,
        shape: Sequence[int],
        geometry: Geometry,
    ) -> Tensor:
        weight = _weight(values, index, layout, shape, geometry)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # as a compiled kernel: in the types that are given
            y: Tensor = F.conv2d(_padded(x, geometry), weight, bias, **_around(geometry))
        return y.contiguous()

    return call


def conv_grad_input(layout: str) -> Callable[..., Tensor]:
    """``f(grad, values, index, shape, geometry, size)``: the gradient of x, whose planes are of that size."""

    def call(
        grad: Tensor,
        values: Tensor,
        index: Index,
        shape: Sequence[int],
        geometry: Geometry,
        size: Sequence[int],
    ) -> Tensor:
        left, right, top, bottom = geometry.padding
        height, width = size
        padded = (grad.shape[0], geometry.channels, height + top + bottom, width + left + right)
        weight = _weight(values, index, layout, shape, geometry)
        whole: Tensor = conv2d_input(padded, weight, grad, **_around(geometry))
        return whole[:, :, top : top + height, left : left + width].contiguous()

    return call


def conv_grad_values(layout: str) -> Callable[..., Tensor]:
    """``f(grad, x, values, index, shape, geometry)``: the dense gradient of the weight at the connections, then 0."""

    def call(
        grad: Tensor, x: Tensor, values: Tensor, index: Index, shape: Sequence[int], geometry: Geometry
    ) -> Tensor:
        size = (shape[0], geometry.channels // geometry.groups, *geometry.kernel)
        dense: Tensor = conv2d_weight(_padded(x, geometry), size, grad, **_around(geometry))
        row, col = coordinates(index, layout, shape)
        out: Tensor = values.new_zeros(values.shape)
        out[: row.numel()] = dense.permute(0, 2, 3, 1).reshape(shape[0], -1)[row, col]
        return out

    return call


def _weight(values: Tensor, index: Index, layout: str, shape: Sequence[int], geometry: Geometry) -> Tensor:
    """[out, channels of a group, kernel]: the matrix, whose columns run along the channels of one tap after another."""
    row, col = coordinates(index, layout, shape)
    matrix = values.new_zeros(shape[0], shape[1])
    matrix[row, col] = values[: row.numel()]
    return matrix.view(shape[0], *geometry.kernel, -1).permute(0, 3, 1, 2)


def _padded(x: Tensor, geometry: Geometry) -> Tensor:
    """With the border of zeros around it."""
    return F.pad(x, geometry.padding) if any(geometry.padding) else x


def _around(geometry: Geometry) -> dict[str, Any]:
    """What torch is told beside the operands, whose border is there already."""
    return {"stride": geometry.stride, "dilation": geometry.dilation, "groups": geometry.groups}
