"""Forward-mode derivatives. They stand apart from the Functions they extend, which torch.compile takes only without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

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


def dual(function: type[Function], kept: int, index: int, jvp: Callable[..., Tensor]) -> type[Function]:
    """A Function with a forward-mode derivative.

    Args:
        function: subclass of Function - its last operands are the tensors of an index.
        kept: int - how many of its first operands the derivative reads.
        index: int - where the index begins.
        jvp: (context, tangents of the operands) -> tangent of the output; the context saves what is kept, then the
            index.
    """

    def forward(*operands: Any) -> Tensor:
        y: Tensor = function.forward(*_opened(operands))
        return y

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        function.setup_context(ctx, _opened(inputs), output)
        ctx.save_for_forward(*inputs[:kept], *inputs[index:])

    own: dict[str, Callable[..., Any]] = {"forward": forward, "setup_context": setup_context, "jvp": jvp}
    return type(f"Dual{function.__name__}", (function,), {name: staticmethod(f) for name, f in own.items()})


def total(zeros: Tensor, *parts: Tensor | None) -> Tensor:
    """The sum of what is there."""
    for part in parts:
        zeros = zeros if part is None else zeros + part
    return zeros


def _opened(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands with the shapes that were closed."""
    return tuple(operand.shape if isinstance(operand, Closed) else operand for operand in operands)


def _of_linear(ctx: Any, dx: Tensor | None, dv: Tensor | None, db: Tensor | None, *_: Any) -> Tensor:
    x, values, *index = ctx.saved_tensors
    tail = (index, None, ctx.layout, ctx.shape)
    by_x = None if dx is None else linear(dx, values, *tail)
    by_values = None if dv is None else linear(x, dv.contiguous(), *tail)
    return total(x.new_zeros(x.shape[0], ctx.shape[0]), by_x, by_values, db)


def _of_grad_input(ctx: Any, dg: Tensor | None, dv: Tensor | None, *_: Any) -> Tensor:
    grad, values, *index = ctx.saved_tensors
    tail = (index, ctx.layout, ctx.shape)
    by_grad = None if dg is None else linear_grad_input(dg, values, *tail)
    by_values = None if dv is None else linear_grad_input(grad, dv.contiguous(), *tail)
    return total(grad.new_zeros(grad.shape[0], ctx.shape[1]), by_grad, by_values)


def _of_grad_values(ctx: Any, dg: Tensor | None, dx: Tensor | None, *_: Any) -> Tensor:
    grad, x, values, *index = ctx.saved_tensors
    tail = (values, index, ctx.layout, ctx.shape)
    by_grad = None if dg is None else linear_grad_values(dg, x, *tail)
    by_x = None if dx is None else linear_grad_values(grad, dx, *tail)
    return total(torch.zeros_like(values), by_grad, by_x)


DUAL[_Linear] = dual(_Linear, 2, 6, _of_linear)
DUAL[_GradInput] = dual(_GradInput, 2, 5, _of_grad_input)
DUAL[_GradValues] = dual(_GradValues, 3, 6, _of_grad_values)
