"""The products of a convolution as torch sees them: schemas, implementations for every device, shapes for tracing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import torch

from gossamer.errors import ShapeError
from gossamer.kernels.dispatch import pick
from gossamer.layouts.geometry import Geometry
from gossamer.ops.batched import register
from gossamer.ops.check import check_images, check_product
from gossamer.ops.flops import register_conv
from gossamer.ops.schemas import LIBRARY

if TYPE_CHECKING:
    from torch import Tensor

INTEGERS: Final = 12  # of a geometry
Index = Sequence["Tensor"]
Integers = Sequence[int]

LIBRARY.define(
    "conv(Tensor x, Tensor values, Tensor[] index, Tensor? bias, str layout, int[] shape, int[] geometry) -> Tensor"
)
LIBRARY.define(
    "conv_grad_input(Tensor grad, Tensor values, Tensor[] index, str layout, int[] shape, int[] geometry,"
    " SymInt[] size) -> Tensor"
)
LIBRARY.define(
    "conv_grad_values(Tensor grad, Tensor x, Tensor values, Tensor[] index, str layout, int[] shape, int[] geometry)"
    " -> Tensor"
)


def integers(g: Geometry) -> tuple[int, ...]:
    """A geometry as an operator takes it; its border is of zeros."""
    return (g.channels, *g.kernel, *g.stride, *g.padding, *g.dilation, g.groups)


@lru_cache(maxsize=4096)
def _geometry(numbers: tuple[int, ...]) -> Geometry:
    if len(numbers) != INTEGERS:
        raise ShapeError("geometry", expected=f"{INTEGERS} integers", got=f"{list(numbers)}")
    channels, kh, kw, sh, sw, left, right, top, bottom, dh, dw, groups = numbers
    return Geometry(channels, (kh, kw), (sh, sw), (left, right, top, bottom), (dh, dw), groups)


def geometry_of(numbers: Integers) -> Geometry:
    """The inverse of `integers`."""
    return _geometry(tuple(numbers))


def run_conv(
    x: Tensor,
    values: Tensor,
    index: Index,
    bias: Tensor | None,
    layout: str,
    shape: Integers,
    geometry: Integers,
) -> Tensor:
    """What the operator of that name runs: checked, by the table."""
    given = geometry_of(geometry)
    check_product("ops.conv", None, None, values, index, bias, layout, shape)
    check_images("ops.conv", x, None, values, shape, given)
    row = pick("conv", layout, values.dtype, values.device.type)
    y: Tensor = row.call(x, values, index, bias, shape, given)
    return y


def run_grad_input(
    grad: Tensor,
    values: Tensor,
    index: Index,
    layout: str,
    shape: Integers,
    geometry: Integers,
    size: Integers,
) -> Tensor:
    """As `run_conv`."""
    given = geometry_of(geometry)
    check_product("ops.conv_grad_input", None, None, values, index, None, layout, shape)
    check_images("ops.conv_grad_input", None, grad, values, shape, given, size)
    row = pick("conv_grad_input", layout, values.dtype, values.device.type)
    dx: Tensor = row.call(grad, values, index, shape, given, size)
    return dx


def run_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Index, layout: str, shape: Integers, geometry: Integers
) -> Tensor:
    """As `run_conv`."""
    given = geometry_of(geometry)
    check_product("ops.conv_grad_values", None, None, values, index, None, layout, shape)
    check_images("ops.conv_grad_values", x, grad, values, shape, given)
    row = pick("conv_grad_values", layout, values.dtype, values.device.type)
    dv: Tensor = row.call(grad, x, values, index, shape, given)
    return dv


def _conv_fake(
    x: Tensor,
    values: Tensor,
    index: Index,
    bias: Tensor | None,
    layout: str,
    shape: Integers,
    geometry: Integers,
) -> Tensor:
    del values, index, bias, layout
    return x.new_empty(x.shape[0], shape[0], *geometry_of(geometry).out_size(*x.shape[2:]))


def _grad_input_fake(
    grad: Tensor,
    values: Tensor,
    index: Index,
    layout: str,
    shape: Integers,
    geometry: Integers,
    size: Integers,
) -> Tensor:
    del values, index, layout, shape
    return grad.new_empty(grad.shape[0], geometry[0], *size)


def _grad_values_fake(
    grad: Tensor, x: Tensor, values: Tensor, index: Index, layout: str, shape: Integers, geometry: Integers
) -> Tensor:
    del grad, x, index, layout, shape, geometry
    return values.new_empty(values.shape)


for _name, _run, _fake in (
    ("conv", run_conv, _conv_fake),
    ("conv_grad_input", run_grad_input, _grad_input_fake),
    ("conv_grad_values", run_grad_values, _grad_values_fake),
):
    for _key in ("CPU", "CompositeExplicitAutograd"):  # as for linear layers
        LIBRARY.impl(_name, _run, _key)
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=LIBRARY)

register(("conv", "conv_grad_input"), ("conv_grad_values",))
register_conv()
