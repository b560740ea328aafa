"""Forward-mode derivatives of convolutions; they stand apart for the reason that `forward_mode` gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.ops.autograd import DUAL
from gossamer.ops.conv_autograd import (
    _Conv,
    _GradInput,
    _GradValues,
    conv,
    conv_grad_input,
    conv_grad_values,
)
from gossamer.ops.conv_operators import geometry_of
from gossamer.ops.forward_mode import dual, total


def _of_conv(ctx: Any, dx: Tensor | None, dv: Tensor | None, db: Tensor | None, *_: Any) -> Tensor:
    x, values, *index = ctx.saved_tensors
    tail = (index, None, ctx.layout, ctx.shape, ctx.geometry)
    by_x = None if dx is None else conv(dx, values, *tail)
    by_values = None if dv is None else conv(x, dv.contiguous(), *tail)
    size = geometry_of(ctx.geometry).out_size(*x.shape[2:])
    by_bias = None if db is None else db[:, None, None]
    return total(x.new_zeros(x.shape[0], ctx.shape[0], *size), by_x, by_values, by_bias)


def _of_grad_input(ctx: Any, dg: Tensor | None, dv: Tensor | None, *_: Any) -> Tensor:
    grad, values, *index = ctx.saved_tensors
    tail = (index, ctx.layout, ctx.shape, ctx.geometry, ctx.size)
    by_grad = None if dg is None else conv_grad_input(dg, values, *tail)
    by_values = None if dv is None else conv_grad_input(grad, dv.contiguous(), *tail)
    return total(grad.new_zeros(grad.shape[0], ctx.geometry[0], *ctx.size), by_grad, by_values)


def _of_grad_values(ctx: Any, dg: Tensor | None, dx: Tensor | None, *_: Any) -> Tensor:
    grad, x, values, *index = ctx.saved_tensors
    tail = (values, index, ctx.layout, ctx.shape, ctx.geometry)
    by_grad = None if dg is None else conv_grad_values(dg, x, *tail)
    by_x = None if dx is None else conv_grad_values(grad, dx, *tail)
    return total(torch.zeros_like(values), by_grad, by_x)


DUAL[_Conv] = dual(_Conv, 2, 7, _of_conv)
DUAL[_GradInput] = dual(_GradInput, 2, 7, _of_grad_input)
DUAL[_GradValues] = dual(_GradValues, 3, 7, _of_grad_values)
