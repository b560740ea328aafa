"""Derivatives of convolutions. Each product is linear in each operand: the three products are closed under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gossamer.ops import conv_operators as operators
from gossamer.ops.autograd import record, transformed, wanted
from gossamer.ops.direct import direct

Index = Sequence[Tensor]
Integers = Sequence[int]

_conv_op = torch.ops.gossamer.conv.default
_grad_input_op = torch.ops.gossamer.conv_grad_input.default
_grad_values_op = torch.ops.gossamer.conv_grad_values.default


class _Conv(Function):
    """Operands: x, values, bias, layout, shape, geometry, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layout: str,
        shape: Integers,
        geometry: Integers,
        now: bool,
        *index: Tensor,
    ) -> Tensor:
        run = operators.run_conv if now else _conv_op
        y: Tensor = run(x, values, index, bias, layout, shape, geometry)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        x, values, _, ctx.layout, ctx.shape, ctx.geometry, _, *index = inputs
        ctx.save_for_backward(x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, values, *index = ctx.saved_tensors
        tail = (index, ctx.layout, ctx.shape, ctx.geometry)
        dx = conv_grad_input(grad, values, *tail, x.shape[2:]) if ctx.needs_input_grad[0] else None
        dv = conv_grad_values(grad, x, values, *tail) if ctx.needs_input_grad[1] else None
        db = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return dx, dv, db, None, None, None, None, *(None for _ in index)


class _GradInput(Function):
    """Operands: grad, values, layout, shape, geometry, size, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad: Tensor,
        values: Tensor,
        layout: str,
        shape: Integers,
        geometry: Integers,
        size: Integers,
        now: bool,
        *index: Tensor,
    ) -> Tensor:
        run = operators.run_grad_input if now else _grad_input_op
        dx: Tensor = run(grad, values, index, layout, shape, geometry, size)
        return dx

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        grad, values, ctx.layout, ctx.shape, ctx.geometry, ctx.size, _, *index = inputs
        ctx.save_for_backward(grad, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, values, *index = ctx.saved_tensors
        tail = (ctx.layout, ctx.shape, ctx.geometry)
        dg = conv(grad, values, index, None, *tail) if ctx.needs_input_grad[0] else None
        dv = conv_grad_values(first, grad, values, index, *tail) if ctx.needs_input_grad[1] else None
        return dg, dv, None, None, None, None, None, *(None for _ in index)


class _GradValues(Function):
    """Operands: grad, x, values, layout, shape, geometry, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad: Tensor,
        x: Tensor,
        values: Tensor,
        layout: str,
        shape: Integers,
        geometry: Integers,
        now: bool,
        *index: Tensor,
    ) -> Tensor:
        run = operators.run_grad_values if now else _grad_values_op
        dv: Tensor = run(grad, x, values, index, layout, shape, geometry)
        return dv

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        grad, x, values, ctx.layout, ctx.shape, ctx.geometry, _, *index = inputs
        ctx.save_for_backward(grad, x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, x, _, *index = ctx.saved_tensors
        grad = grad.contiguous()  # it stands where values do; that of a sum is one number seen many times
        tail = (ctx.layout, ctx.shape, ctx.geometry)
        dg = conv(x, grad, index, None, *tail) if ctx.needs_input_grad[0] else None
        dx = conv_grad_input(first, grad, index, *tail, x.shape[2:]) if ctx.needs_input_grad[1] else None
        return dg, dx, None, None, None, None, None, None, *(None for _ in index)


def conv(
    x: Tensor,
    values: Tensor,
    index: Index,
    bias: Tensor | None,
    layout: str,
    shape: Integers,
    geometry: Integers,
) -> Tensor:
    """Forward on [batch, channels, height, width]; records a graph only where a gradient is wanted."""
    now = direct(x, values, bias)
    if wanted(x, values, bias) or (not now and transformed()):
        recorded: Tensor = record(_Conv, now, x, values, bias, layout, shape, geometry, now, *index)
        return recorded
    run = operators.run_conv if now else _conv_op
    y: Tensor = run(x, values, index, bias, layout, shape, geometry)
    return y


def conv_grad_input(
    grad: Tensor,
    values: Tensor,
    index: Index,
    layout: str,
    shape: Integers,
    geometry: Integers,
    size: Integers,
) -> Tensor:
    """Gradient of an input with planes of that size; differentiable again where that is wanted."""
    now = direct(grad, values)
    if wanted(grad, values) or (not now and transformed()):
        recorded: Tensor = record(_GradInput, now, grad, values, layout, shape, geometry, size, now, *index)
        return recorded
    run = operators.run_grad_input if now else _grad_input_op
    dx: Tensor = run(grad, values, index, layout, shape, geometry, size)
    return dx


def conv_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Index, layout: str, shape: Integers, geometry: Integers
) -> Tensor:
    """Gradient of the values; differentiable again where that is wanted."""
    now = direct(grad, x, values)
    if wanted(grad, x) or (not now and transformed()):
        recorded: Tensor = record(_GradValues, now, grad, x, values, layout, shape, geometry, now, *index)
        return recorded
    run = operators.run_grad_values if now else _grad_values_op
    dv: Tensor = run(grad, x, values, index, layout, shape, geometry)
    return dv
