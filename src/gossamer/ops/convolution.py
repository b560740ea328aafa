"""The sparse convolution as the rest of the package calls it: checked, autocast-aware, any border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.layouts.geometry import Geometry
from gossamer.ops import conv_autograd
from gossamer.ops.autograd import transformed
from gossamer.ops.check import check_conv
from gossamer.ops.conv_operators import integers
from gossamer.ops.dense_conv import padded

if TYPE_CHECKING:
    from torch import Tensor


def conv(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    geometry: Geometry,
) -> Tensor:
    """Convolution with a truly sparse weight, a matrix [out, kh * kw * channels / groups] with channels innermost.

    Args:
        x: [batch, channels, height, width] or [channels, height, width], float32 or float64 (other floating types run
            on reference kernels), any strides.
        values: [>= used], dtype of x - the connections, flat; the unused tail gets gradient 0.
        index: integer tensors of the layout, contiguous; scanned once for every write to them.
        bias: [out], dtype of x, or None.
        layout: ``"csr"``, ``"fanin"``, ``"nm"``, ``"block"``.
        shape: ``[out, n_in]`` and the layout's own integers; n_in is ``geometry.columns``.
        geometry: Geometry - kernel, stride, border, dilation, groups.

    Returns:
        [batch, out, height', width'], contiguous, or without the batch. Outputs without connections give their bias,
        or 0. Under autocast everything is computed and returned in float32.

    Raises:
        ShapeError: operands that do not fit each other, or planes that the kernel or its border does not fit.
        DtypeError: dtypes or devices that do not fit each other.
        TopologyError: an index that describes no topology, or was given one by a write.
        KernelUnavailable: a forced kernel that is not there.

    Cost: O(batch * connections * positions) time; memory for y, plus a padded copy of x where the border is not zeros.

    Example:
        >>> import torch
        >>> ptr, col = torch.tensor([0, 2], dtype=torch.int32), torch.tensor([0, 3]).to(torch.uint16)
        >>> x, values = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]), torch.tensor([10.0, 1.0])
        >>> conv(x, values, [ptr, col], None, "csr", [1, 4], Geometry(1, (2, 2)))
        tensor([[[15., 26.]]])
    """
    if not x.is_meta and torch.is_autocast_enabled("cpu" if x.is_cpu else x.device.type):  # meta knows none
        x, values = x.float(), values.float()
        bias = None if bias is None else bias.float()
    if transformed():  # a slice of a batch has the strides of the batch
        values, bias = values.contiguous(), None if bias is None else bias.contiguous()
    batch = x.unsqueeze(0) if x.ndim == 3 else x
    check_conv("ops.conv", batch, values, index, bias, layout, shape, geometry)
    if geometry.mode != "zeros":
        batch, geometry = padded(batch, geometry.padding, geometry.mode), geometry.unpadded
    y = conv_autograd.conv(batch, values, index, bias, layout, shape, integers(geometry))
    return y.squeeze(0) if x.ndim == 3 else y
