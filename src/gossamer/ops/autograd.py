"""Derivatives. Each product is linear in each operand: the three products are closed under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from gossamer.ops import schemas
from gossamer.ops.check import check_operands
from gossamer.ops.direct import direct

_linear_op = torch.ops.gossamer.linear.default
_grad_input_op = torch.ops.gossamer.linear_grad_input.default
_grad_values_op = torch.ops.gossamer.linear_grad_values.default


def wanted(*tensors: Tensor | None) -> bool:
    """Whether a gradient of one of them is."""
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator would take longer than all the rest
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def transformed() -> bool:
    """Whether torch.func or forward-mode derivatives are under way: their tensors do not say what they want."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0  # noqa: SLF001


def record(function: type[Function], now: bool, *operands: Any) -> Any:
    """Apply a Function; at once where nothing listens: binding its arguments costs more than a small product."""
    if now:
        return super(Function, function).apply(*operands)  # type: ignore[misc]
    if not transformed():
        return function.apply(*operands)
    return DUAL[function].apply(*[Closed(o) if isinstance(o, list | tuple) else o for o in operands])


class Closed:
    """A shape that transforms do not take apart, as they do with lists."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape


class _Linear(Function):
    """Operands: x, values, bias, layout, shape, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layout: str,
        shape: Sequence[int],
        now: bool,
        *index: Tensor,
    ) -> Tensor:
        run = schemas.run_linear if now else _linear_op
        y: Tensor = run(x, values, index, bias, layout, shape, True)  # values that train change
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        x, values, _, ctx.layout, ctx.shape, _, *index = inputs
        ctx.save_for_backward(x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, values, *index = ctx.saved_tensors
        now, tail = direct(grad, x, values), (index, ctx.layout, ctx.shape)
        dx = _linear_grad_input(now, grad, values, *tail) if ctx.needs_input_grad[0] else None
        dv = _linear_grad_values(now, grad, x, values, *tail) if ctx.needs_input_grad[1] else None
        db = grad.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dv, db, None, None, None, *(None for _ in index)


class _GradInput(Function):
    """Operands: grad, values, layout, shape, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad: Tensor, values: Tensor, layout: str, shape: Sequence[int], now: bool, *index: Tensor
    ) -> Tensor:
        dx: Tensor = (schemas.run_grad_input if now else _grad_input_op)(grad, values, index, layout, shape)
        return dx

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        grad, values, ctx.layout, ctx.shape, _, *index = inputs
        ctx.save_for_backward(grad, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, values, *index = ctx.saved_tensors
        tail = (index, ctx.layout, ctx.shape)
        dg = linear(grad, values, index, None, *tail[1:]) if ctx.needs_input_grad[0] else None
        dv = linear_grad_values(first, grad, values, *tail) if ctx.needs_input_grad[1] else None
        return dg, dv, None, None, None, *(None for _ in index)


class _GradValues(Function):
    """Operands: grad, x, values, layout, shape, whether to run at once, then the index."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad: Tensor,
        x: Tensor,
        values: Tensor,
        layout: str,
        shape: Sequence[int],
        now: bool,
        *index: Tensor,
    ) -> Tensor:
        run = schemas.run_grad_values if now else _grad_values_op
        dv: Tensor = run(grad, x, values, index, layout, shape)
        return dv

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        grad, x, values, ctx.layout, ctx.shape, _, *index = inputs
        ctx.save_for_backward(grad, x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, x, _, *index = ctx.saved_tensors
        grad = grad.contiguous()  # it stands where values do; that of a sum is one number seen many times
        tail = (index, ctx.layout, ctx.shape)
        dg = linear(x, grad, index, None, *tail[1:]) if ctx.needs_input_grad[0] else None
        dx = linear_grad_input(first, grad, *tail) if ctx.needs_input_grad[1] else None
        return dg, dx, None, None, None, None, *(None for _ in index)


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> Tensor:
    """Forward on a 2-D input; records a graph only where a gradient is wanted."""
    now = direct(x, values, bias)
    if not now:
        if transformed():  # a slice of a batch has the strides of the batch
            values, bias = values.contiguous(), None if bias is None else bias.contiguous()
        check_operands(
            x, values, index, bias, layout, shape
        )  # a tracer's stand-ins do not reach the operator's own
    if wanted(x, values, bias) or (not now and transformed()):
        recorded: Tensor = record(_Linear, now, x, values, bias, layout, shape, now, *index)
        return recorded
    y: Tensor = (schemas.run_linear if now else _linear_op)(x, values, index, bias, layout, shape)
    return y


def linear_grad_input(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Gradient of the input; differentiable again where that is wanted."""
    return _linear_grad_input(direct(grad, values), grad, values, index, layout, shape)


def _linear_grad_input(
    now: bool, grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    if wanted(grad, values) or (not now and transformed()):
        recorded: Tensor = record(_GradInput, now, grad, values, layout, shape, now, *index)
        return recorded
    dx: Tensor = (schemas.run_grad_input if now else _grad_input_op)(grad, values, index, layout, shape)
    return dx


def linear_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Gradient of the values; differentiable again where that is wanted."""
    return _linear_grad_values(direct(grad, x, values), grad, x, values, index, layout, shape)


def _linear_grad_values(
    now: bool,
    grad: Tensor,
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    layout: str,
    shape: Sequence[int],
) -> Tensor:
    if wanted(grad, x) or (not now and transformed()):
        recorded: Tensor = record(_GradValues, now, grad, x, values, layout, shape, now, *index)
        return recorded
    run = schemas.run_grad_values if now else _grad_values_op
    dv: Tensor = run(grad, x, values, index, layout, shape)
    return dv


DUAL: dict[
    type[Function], type[Function]
] = {}  # what stands for each Function in transforms; see ops.forward_mode
