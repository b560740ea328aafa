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


def _wanted(*tensors: Tensor | None) -> bool:
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
    return super(Function, function).apply(*operands) if now else function.apply(*operands)  # type: ignore[misc]


def save(ctx: Any, now: bool, *tensors: Tensor) -> None:
    """Keep what derivatives read; forward-mode ones are never under way where a product runs at once."""
    ctx.save_for_backward(*tensors)
    if not now:
        ctx.save_for_forward(*tensors)


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
        x, values, _, ctx.layout, ctx.shape, now, *index = inputs
        save(ctx, now, x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, values, *index = ctx.saved_tensors
        now, tail = direct(grad, x, values), (index, ctx.layout, ctx.shape)
        dx = _linear_grad_input(now, grad, values, *tail) if ctx.needs_input_grad[0] else None
        dv = _linear_grad_values(now, grad, x, values, *tail) if ctx.needs_input_grad[1] else None
        db = grad.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dv, db, None, None, None, *(None for _ in index)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dv: Tensor | None, db: Tensor | None, *_: Any) -> Tensor:
        x, values, *index = ctx.saved_tensors
        tail = (ctx.layout, ctx.shape)
        by_x = None if dx is None else linear(dx, values, index, None, *tail)
        by_values = None if dv is None else linear(x, dv.contiguous(), index, None, *tail)
        return total(x.new_zeros(x.shape[0], ctx.shape[0]), by_x, by_values, db)


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
        grad, values, ctx.layout, ctx.shape, now, *index = inputs
        save(ctx, now, grad, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, values, *index = ctx.saved_tensors
        tail = (index, ctx.layout, ctx.shape)
        dg = linear(grad, values, index, None, *tail[1:]) if ctx.needs_input_grad[0] else None
        dv = linear_grad_values(first, grad, values, *tail) if ctx.needs_input_grad[1] else None
        return dg, dv, None, None, None, *(None for _ in index)

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dv: Tensor | None, *_: Any) -> Tensor:
        grad, values, *index = ctx.saved_tensors
        tail = (index, ctx.layout, ctx.shape)
        by_grad = None if dg is None else linear_grad_input(dg, values, *tail)
        by_values = None if dv is None else linear_grad_input(grad, dv.contiguous(), *tail)
        return total(grad.new_zeros(grad.shape[0], ctx.shape[1]), by_grad, by_values)


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
        grad, x, values, ctx.layout, ctx.shape, now, *index = inputs
        save(ctx, now, grad, x, values, *index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, x, _, *index = ctx.saved_tensors
        grad = grad.contiguous()  # it stands where values do; that of a sum is one number seen many times
        tail = (index, ctx.layout, ctx.shape)
        dg = linear(x, grad, index, None, *tail[1:]) if ctx.needs_input_grad[0] else None
        dx = linear_grad_input(first, grad, *tail) if ctx.needs_input_grad[1] else None
        return dg, dx, None, None, None, None, *(None for _ in index)

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dx: Tensor | None, *_: Any) -> Tensor:
        grad, x, values, *index = ctx.saved_tensors
        tail = (values, index, ctx.layout, ctx.shape)
        by_grad = None if dg is None else linear_grad_values(dg, x, *tail)
        by_x = None if dx is None else linear_grad_values(grad, dx, *tail)
        return total(torch.zeros_like(values), by_grad, by_x)


def total(zeros: Tensor, *parts: Tensor | None) -> Tensor:
    """The sum of what is there."""
    for part in parts:
        zeros = zeros if part is None else zeros + part
    return zeros


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> Tensor:
    """Forward on a 2-D input; records a graph only where a gradient is wanted."""
    now = direct(x, values, bias)
    if not now:  # a tracer's stand-ins do not reach the operator's own checks
        check_operands(x, values, index, bias, layout, shape)
    if _wanted(x, values, bias) or (not now and transformed()):
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
    if _wanted(grad, values) or (not now and transformed()):
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
    if _wanted(grad, x) or (not now and transformed()):
        recorded: Tensor = record(_GradValues, now, grad, x, values, layout, shape, now, *index)
        return recorded
    run = schemas.run_grad_values if now else _grad_values_op
    dv: Tensor = run(grad, x, values, index, layout, shape)
    return dv
