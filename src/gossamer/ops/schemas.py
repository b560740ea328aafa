"""The operators as torch sees them: schemas, implementations for every device, and shapes for tracing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gossamer.kernels.cpu import dense
from gossamer.kernels.dispatch import goes_dense, pick
from gossamer.ops.check import check_product

LIBRARY = torch.library.Library("gossamer", "DEF")
LIBRARY.define(
    "linear(Tensor x, Tensor values, Tensor[] index, Tensor? bias, str layout, int[] shape, bool training=False)"
    " -> Tensor"
)
LIBRARY.define(
    "linear_grad_input(Tensor grad, Tensor values, Tensor[] index, str layout, int[] shape) -> Tensor"
)
LIBRARY.define(
    "linear_grad_values(Tensor grad, Tensor x, Tensor values, Tensor[] index, str layout, int[] shape)"
    " -> Tensor"
)


def _device(tensor: Tensor) -> str:
    """Its device type; the usual one is found faster than the rest."""
    return "cpu" if tensor.is_cpu else tensor.device.type


def run_linear(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    training: bool = False,
) -> Tensor:
    """What the operator of that name runs: checked, dense or by the table."""
    found = check_product("ops.linear", x, None, values, index, bias, layout, shape)
    if goes_dense("linear", found, values, x, training):
        return dense.linear(x, values, index, bias, layout, shape, training)
    y: Tensor = pick("linear", layout, x.dtype, _device(x)).call(x, values, index, bias, shape)
    return y


def run_grad_input(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As `run_linear`."""
    found = check_product("ops.linear_grad_input", None, grad, values, index, None, layout, shape)
    if goes_dense("linear_grad_input", found, values, grad):
        return dense.linear_grad_input(grad, values, index, layout, shape)
    dx: Tensor = pick("linear_grad_input", layout, grad.dtype, _device(grad)).call(grad, values, index, shape)
    return dx


def run_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As `run_linear`."""
    found = check_product("ops.linear_grad_values", x, grad, values, index, None, layout, shape)
    if goes_dense("linear_grad_values", found, values, x):
        return dense.linear_grad_values(grad, x, values, index, layout, shape)
    row = pick("linear_grad_values", layout, values.dtype, _device(values))
    dv: Tensor = row.call(grad, x, values, index, shape)
    return dv


def _linear_fake(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    training: bool = False,
) -> Tensor:
    del values, index, bias, layout, training
    return x.new_empty((shape[0], x.shape[0])).t()


def _grad_input_fake(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    del values, index, layout
    return grad.new_empty((shape[1], grad.shape[0])).t()


def _grad_values_fake(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    del grad, x, index, layout, shape
    return values.new_empty(values.shape)


for _name, _run, _fake in (
    ("linear", run_linear, _linear_fake),
    ("linear_grad_input", run_grad_input, _grad_input_fake),
    ("linear_grad_values", run_grad_values, _grad_values_fake),
):
    for _key in ("CPU", "CompositeExplicitAutograd"):  # the explicit key is found faster
        LIBRARY.impl(_name, _run, _key)
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=LIBRARY)
