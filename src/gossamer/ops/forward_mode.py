"""Forward-mode derivatives. They stand apart from the Functions they extend, which torch.compile takes only without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.ops.autograd import (
    DUAL,
    Closed,
    _GradInput,
    _GradValues,
    _Linear,
    linear,
    linear_grad_input,
    linear_grad_values,
)


def opened(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands with the shapes that were closed."""
    return tuple(operand.shape if isinstance(operand, Closed) else operand for operand in operands)


def total(zeros: Tensor, *parts: Tensor | None) -> Tensor:
    """The sum of what is there."""
    for part in parts:
        zeros = zeros if part is None else zeros + part
    return zeros


class _DualLinear(_Linear):
    """With ``jvp``."""

    @staticmethod
    def forward(*operands: Any) -> Tensor:
        return _Linear.forward(*opened(operands))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Linear.setup_context(ctx, opened(inputs), output)
        x, values, *_ = inputs
        ctx.save_for_forward(x, values, *inputs[6:])

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dv: Tensor | None, db: Tensor | None, *_: Any) -> Tensor:
        x, values, *index = ctx.saved_tensors
        tail = (index, None, ctx.layout, ctx.shape)
        by_x = None if dx is None else linear(dx, values, *tail)
        by_values = None if dv is None else linear(x, dv.contiguous(), *tail)
        return total(x.new_zeros(x.shape[0], ctx.shape[0]), by_x, by_values, db)


class _DualGradInput(_GradInput):
    """With ``jvp``."""

    @staticmethod
    def forward(*operands: Any) -> Tensor:
        return _GradInput.forward(*opened(operands))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _GradInput.setup_context(ctx, opened(inputs), output)
        ctx.save_for_forward(*inputs[:2], *inputs[5:])

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dv: Tensor | None, *_: Any) -> Tensor:
        grad, values, *index = ctx.saved_tensors
        tail = (index, ctx.layout, ctx.shape)
        by_grad = None if dg is None else linear_grad_input(dg, values, *tail)
        by_values = None if dv is None else linear_grad_input(grad, dv.contiguous(), *tail)
        return total(grad.new_zeros(grad.shape[0], ctx.shape[1]), by_grad, by_values)


class _DualGradValues(_GradValues):
    """With ``jvp``."""

    @staticmethod
    def forward(*operands: Any) -> Tensor:
        return _GradValues.forward(*opened(operands))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _GradValues.setup_context(ctx, opened(inputs), output)
        ctx.save_for_forward(*inputs[:3], *inputs[6:])

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dx: Tensor | None, *_: Any) -> Tensor:
        grad, x, values, *index = ctx.saved_tensors
        tail = (values, index, ctx.layout, ctx.shape)
        by_grad = None if dg is None else linear_grad_values(dg, x, *tail)
        by_x = None if dx is None else linear_grad_values(grad, dx, *tail)
        return total(torch.zeros_like(values), by_grad, by_x)


DUAL.update({_Linear: _DualLinear, _GradInput: _DualGradInput, _GradValues: _DualGradValues})
