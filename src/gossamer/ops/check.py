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
