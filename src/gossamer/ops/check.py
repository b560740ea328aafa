"""Checks of the operands of sparse products: what no kernel may meet is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.operands import used_values
from gossamer.kernels.scanned import Scanned, check_length, known, scanned

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Geometry


def check_product(
    operation: str,
    x: Tensor | None,
    grad: Tensor | None,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
) -> Scanned:
    """Check all that a kernel relies on, the contents of the index included.

    Args:
        operation: str - named in errors.
        x: [batch, n_in] or None.
        grad: [batch, n_out] or None.
        values: [>= used] - flat.
        index: integer tensors of the layout.
        bias: [n_out] or None.
        layout: layout of the table.
        shape: the layout's integers.

    Returns:
        Scanned - what is known of the index.

    Raises:
        ShapeError: operands that do not fit each other.
        DtypeError: dtypes or devices that do not fit each other.
        TopologyError: an index that describes no topology.

    Cost: O(connections) the first time, O(1) after that; see `kernels.scanned`.
    """
    found = known(index)
    if found is not None and _fits(found, x, grad, values, bias, layout, shape):
        return found
    _check_devices(operation, values, index)
    found = scanned(operation, values, index, layout, shape)
    if x is not None:
        _check_panel(operation, "x", x, shape[1], values)
    if grad is not None:
        _check_panel(operation, "grad", grad, shape[0], values)
        if x is not None and x.shape[0] != grad.shape[0]:
            raise ShapeError(operation, expected=f"grad [{x.shape[0]}, ..]", got=f"{tuple(grad.shape)}")
    if bias is not None:
        _check_bias(operation, bias, shape[0], values)
    return found


def _fits(
    found: Scanned,
    x: Tensor | None,
    grad: Tensor | None,
    values: Tensor,
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
) -> bool:
    """Whether all is well, in as few questions as can tell: each costs a tenth of a small product.

    Where one is answered otherwise, the checks that follow say what is wrong, if anything is.
    """
    if found.shape != tuple(shape) or found.layout != layout or not values.is_cpu:
        return False
    dtype = values.dtype
    if values.stride() != (1,) or values.numel() < found.used:  # one number for each dimension
        return False
    samples = None
    for panel, width in ((x, shape[1]), (grad, shape[0])):
        if panel is None:
            continue
        size = panel.shape
        if panel.dtype is not dtype or not panel.is_cpu or len(size) != 2 or size[1] != width:
            return False
        if samples not in {None, size[0]}:
            return False
        samples = size[0]
    if bias is None:
        return dtype.is_floating_point
    return bias.dtype is dtype and bias.is_cpu and bias.stride() == (1,) and bias.numel() == shape[0]


def check_operands(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> None:
    """Check ranks, sizes, dtypes and devices of the operands of `linear`, not the contents: they may be traced.

    Raises:
        ShapeError: operands that do not fit each other.
        DtypeError: dtypes or devices that do not fit each other.
    """
    _check_devices("ops.linear", values, index)
    check_length("ops.linear", values, used_values("ops.linear", index, layout, shape))
    if x.ndim < 1 or x.shape[-1] != shape[1]:
        raise ShapeError("ops.linear", expected=f"x [..., {shape[1]}]", got=f"{tuple(x.shape)}")
    _check_like("ops.linear", "x", x, values)
    if bias is not None:
        _check_bias("ops.linear", bias, shape[0], values)


def check_conv(
    operation: str,
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    geometry: Geometry,
) -> None:
    """The same for a convolution; raises ShapeError and DtypeError."""
    _check_devices(operation, values, index)
    check_length(operation, values, used_values(operation, index, layout, shape))
    check_images(operation, x, None, values, shape, geometry)
    if bias is not None:
        _check_bias(operation, bias, shape[0], values)


def check_images(
    operation: str,
    x: Tensor | None,
    grad: Tensor | None,
    values: Tensor,
    shape: Sequence[int],
    geometry: Geometry,
    size: Sequence[int] | None = None,
) -> None:
    """Check that images, or the output gradients of images of that size, fit a convolution, and that it fits a matrix.

    Raises:
        ShapeError: they do not fit, or the kernel does not fit the planes.
        DtypeError: dtypes or devices that do not fit each other.
    """
    if shape[1] != geometry.columns or shape[0] % geometry.groups:
        expected = f"a matrix of {geometry.columns} columns, rows divisible by {geometry.groups} groups"
        raise ShapeError(operation, expected=expected, got=f"{shape[0]} x {shape[1]}")
    if x is not None:
        _check_like(operation, "x", x, values)
        if x.ndim != 4 or x.shape[1] != geometry.channels:
            expected = f"x [batch, {geometry.channels}, height, width]"
            raise ShapeError(operation, expected=expected, got=f"{tuple(x.shape)}")
        size = x.shape[2:]
    if size is None or len(size) != 2:
        raise ShapeError(operation, expected="height and width of the images", got=f"{size}")
    try:
        height, width = geometry.out_size(*size)
    except ShapeError as error:
        raise error.within(operation) from None
    if grad is not None:
        _check_like(operation, "grad", grad, values)
        batch = grad.shape[0] if x is None else x.shape[0]
        if tuple(grad.shape) != (batch, shape[0], height, width):
            expected = f"grad [{batch}, {shape[0]}, {height}, {width}]"
            raise ShapeError(operation, expected=expected, got=f"{tuple(grad.shape)}")


def _check_devices(operation: str, values: Tensor, index: Sequence[Tensor]) -> None:
    """Floating values, strided as all that has a memory to point to, and an index beside them."""
    if not values.dtype.is_floating_point:
        raise DtypeError(operation, expected="floating-point values", got=f"{values.dtype}")
    on_cpu = values.is_cpu
    for tensor in (values, *index):
        if tensor.layout is not torch.strided:
            raise DtypeError(operation, expected="strided values and index", got=f"{tensor.layout}")
        if not (on_cpu and tensor.is_cpu) and tensor.device != values.device:
            raise DtypeError(operation, expected=f"index on {values.device}", got=f"{tensor.device}")


def _check_panel(operation: str, name: str, x: Tensor, width: int, values: Tensor) -> None:
    """One row a sample."""
    _check_like(operation, name, x, values)
    if x.ndim != 2 or x.shape[1] != width:
        raise ShapeError(operation, expected=f"{name} [..., {width}]", got=f"{tuple(x.shape)}")


def _check_bias(operation: str, bias: Tensor, n_out: int, values: Tensor) -> None:
    _check_like(operation, "bias", bias, values)
    if bias.shape != (n_out,) or not bias.is_contiguous():
        got = f"{tuple(bias.shape)} with strides {bias.stride()}"
        raise ShapeError(operation, expected=f"contiguous bias [{n_out}]", got=got)


def _check_like(operation: str, name: str, tensor: Tensor, values: Tensor) -> None:
    """Of the dtype of the values, beside them, and strided."""
    beside = (tensor.is_cpu and values.is_cpu) or tensor.device == values.device
    if tensor.dtype != values.dtype or not beside or tensor.layout is not torch.strided:
        raise DtypeError(
            operation,
            expected=f"{name} like values: {values.dtype} on {values.device}",
            got=f"{tensor.dtype} on {tensor.device}, {tensor.layout}",
            hint="cast one of them, or run under torch.autocast",
        )
