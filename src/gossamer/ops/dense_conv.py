"""Convolutions with dense weights, by torch, and borders of every mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Geometry


def padded(x: Tensor, padding: tuple[int, ...], mode: str) -> Tensor:
    """With a border around the last two dimensions; x itself where there is none.

    Args:
        x: [batch, channels, height, width].
        padding: left, right, top, bottom.
        mode: str - of a Geometry.
    """
    return F.pad(x, padding, "constant" if mode == "zeros" else mode) if any(padding) else x


def dense_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """What a convolution computes by definition.

    Args:
        x: [batch, channels, height, width].
        weight: [out, channels of a group, kernel height, kernel width], dtype of x.
        bias: [out], dtype of x, or None.
        geometry: Geometry.

    Returns:
        [batch, out, height', width'].

    Example:
        >>> import torch
        >>> from gossamer.layouts.geometry import Geometry
        >>> x, ones = torch.tensor([[[[1.0, 2.0]]]]), torch.ones(1, 1, 1, 2)
        >>> dense_conv(x, ones, None, Geometry(1, (1, 2), padding=(1, 0, 0, 0), mode="circular"))
        tensor([[[[3., 3.]]]])
    """
    left, right, top, bottom = geometry.padding
    # What torch adds itself, without a copy.
    even = geometry.mode == "zeros" and (left, top) == (right, bottom)
    read = x if even else padded(x, geometry.padding, geometry.mode)
    around = (geometry.stride, (top, left) if even else 0, geometry.dilation, geometry.groups)
    return F.conv2d(read, weight, bias, *around)
