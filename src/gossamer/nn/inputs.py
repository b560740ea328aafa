"""What a layer's matrix is multiplied by: its input as rows, one number a column of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from gossamer.errors import ShapeError
from gossamer.nn.conv_shape import geometry_of
from gossamer.nn.sparse import SparseModule
from gossamer.ops import Geometry
from gossamer.ops.dense_conv import padded

PART = 1 << 22  # numbers of a part


def rows_of_features(layer: Any, x: Tensor) -> Iterator[Tensor]:
    """Parts [samples, 1, in] of the input of a layer that multiplies the last dimension.

    Args:
        layer: nn.Module - dense or sparse, with ``in_features``.
        x: [..., in].
    Raises:
        ShapeError: another size.
    Cost: O(1); the parts are views.
    Example:
        >>> import torch
        >>> from torch import nn
        >>> [part.shape for part in rows_of_features(nn.Linear(3, 2), torch.ones(4, 5, 3))]
        [torch.Size([20, 1, 3])]
    """
    columns = layer.in_features
    if x.ndim == 0 or x.shape[-1] != columns:
        raise ShapeError("input of a linear layer", expected=f"[..., {columns}]", got=f"{tuple(x.shape)}")
    yield from x.reshape(-1, 1, columns).split(max(1, PART // columns))


def rows_of_images(layer: Any, x: Tensor) -> Iterator[Tensor]:
    """Parts [positions, groups, columns] of the input of a convolution, in the order of its matrix.

    Args:
        layer: nn.Module - dense or sparse, in one or two dimensions.
        x: [batch, channels, size], or one image without the batch.
    Raises:
        ShapeError: other channels or dimensions.
    Cost: copies of one part at a time, each of a few images.
    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
        >>> next(rows_of_images(nn.Conv1d(2, 1, 2), x)).tolist()
        [[[1.0, 4.0, 2.0, 5.0]], [[2.0, 5.0, 3.0, 6.0]]]
    """
    sparse, dims = isinstance(layer, SparseModule), len(layer.kernel_size)
    g: Geometry = layer.geometry if sparse else geometry_of(layer)
    if x.ndim not in (dims + 1, dims + 2) or x.shape[-dims - 1] != g.channels:
        sizes = ", ".join(("length",) if dims == 1 else ("height", "width"))
        raise ShapeError(
            "input of a convolution", expected=f"[batch, {g.channels}, {sizes}]", got=f"{tuple(x.shape)}"
        )
    x = x if x.ndim == dims + 2 else x.unsqueeze(0)
    x = x.unsqueeze(-2) if dims == 1 else x
    height, width = g.out_size(*x.shape[2:])
    for part in x.split(max(1, PART // (g.columns * g.groups * height * width))):
        taps = F.unfold(padded(part, g.padding, g.mode), g.kernel, g.dilation, 0, g.stride)
        inner = g.channels // g.groups
        rows = taps.view(len(part), g.groups, inner, -1, taps.shape[-1]).permute(0, 4, 1, 3, 2)
        yield rows.reshape(-1, g.groups, g.columns)
