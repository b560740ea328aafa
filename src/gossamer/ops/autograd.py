"""Derivatives. Each product is linear in each operand: the three products are closed under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gossamer.ops import schemas  # noqa: F401 - the operators must be defined before they are looked up

_linear_op = torch.ops.gossamer.linear.default
_grad_input_op = torch.ops.gossamer.linear_grad_input.default
_grad_values_op = torch.ops.gossamer.linear_grad_values.default


def _wanted(*tensors: Tensor | None) -> bool:
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator would take longer than all the rest
            if tensor is not None and tensor.requires_grad:
                return True
    return False


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layout: str,
        shape: Sequence[int],
        *index: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, values, *index)
        ctx.layout, ctx.shape = layout, shape
        y: Tensor = _linear_op(x, values, index, bias, layout, shape, True)  # values that train change
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, values, *index = ctx.saved_tensors
        dx = (
            linear_grad_input(grad, values, index, ctx.layout, ctx.shape) if ctx.needs_input_grad[0] else None
        )
        dv = (
            linear_grad_values(grad, x, values, index, ctx.layout, ctx.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        db = grad.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dv, db, None, None, *(None for _ in index)


class _GradInput(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, values: Tensor, layout: str, shape: Sequence[int], *index: Tensor
    ) -> Tensor:
        ctx.save_for_backward(grad, values, *index)
        ctx.layout, ctx.shape = layout, shape
        dx: Tensor = _grad_input_op(grad, values, index, layout, shape)
        return dx

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, values, *index = ctx.saved_tensors
        dg = linear(grad, values, index, None, ctx.layout, ctx.shape) if ctx.needs_input_grad[0] else None
        dv = (
            linear_grad_values(first, grad, values, index, ctx.layout, ctx.shape)
            if ctx.needs_input_grad[1]
            else None
        )
        return dg, dv, None, None, *(None for _ in index)


class _GradValues(Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, values: Tensor, layout: str, shape: Sequence[int], *index: Tensor
    ) -> Tensor:
        ctx.save_for_backward(grad, x, *index)
        ctx.layout, ctx.shape = layout, shape
        dv: Tensor = _grad_values_op(grad, x, values, index, layout, shape)
        return dv

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, x, *index = ctx.saved_tensors
        grad = grad.contiguous()  # it stands where values do; that of a sum is one number seen many times
        dg = linear(x, grad, index, None, ctx.layout, ctx.shape) if ctx.needs_input_grad[0] else None
        dx = linear_grad_input(first, grad, index, ctx.layout, ctx.shape) if ctx.needs_input_grad[1] else None
        return dg, dx, None, None, None, *(None for _ in index)


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> Tensor:
    """Forward on 2-D operands that were checked; records a graph only where a gradient is wanted."""
    if _wanted(x, values, bias):
        recorded: Tensor = _Linear.apply(x, values, bias, layout, shape, *index)
        return recorded
    y: Tensor = _linear_op(x, values, index, bias, layout, shape)
    return y


def linear_grad_input(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Gradient of the input; differentiable again where that is wanted."""
    if _wanted(grad, values):
        recorded: Tensor = _GradInput.apply(grad, values, layout, shape, *index)
        return recorded
    dx: Tensor = _grad_input_op(grad, values, index, layout, shape)
    return dx


def linear_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Gradient of the values; differentiable again where that is wanted."""
    if _wanted(grad, x):
        recorded: Tensor = _GradValues.apply(grad, x, values, layout, shape, *index)
        return recorded
    dv: Tensor = _grad_values_op(grad, x, values, index, layout, shape)
    return dv
