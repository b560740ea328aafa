"""Recurrent layers over whole sequences: one call of the core a layer and direction, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gossamer.kernels.cpu import library
from gossamer.kernels.dispatch import pick
from gossamer.ops import autograd
from gossamer.ops import recurrent_operators as operators
from gossamer.ops.autograd import record, transformed, wanted
from gossamer.ops.direct import direct
from gossamer.ops.recurrent_steps import earlier, steps, widths

_forward_op = torch.ops.gossamer.recurrent.default
_backward_op = torch.ops.gossamer.recurrent_backward.default
Index = Sequence[Tensor]
Integers = Sequence[int]


class _Recurrent(Function):
    """Operands: x, values, bias, h, c, offset, active, cell, layout, shape, reverse, whether to run at once, index."""

    @staticmethod
    def forward(
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        h: Tensor,
        c: Tensor | None,
        offset: Tensor | None,
        active: Tensor | None,
        cell: str,
        layout: str,
        shape: Integers,
        reverse: bool,
        now: bool,
        *index: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        del offset
        run = operators.run_recurrent if now else _forward_op
        made: tuple[Tensor, Tensor, Tensor, Tensor] = run(
            x, values, index, bias, h, c, active, cell, layout, shape, reverse, True
        )
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, values, bias, h, c, _, active, ctx.cell, ctx.layout, ctx.shape, ctx.reverse, ctx.now, *index = (
            inputs
        )
        y, _, c_out, kept = output
        ctx.mark_non_differentiable(*([kept] if ctx.cell == "lstm" else [kept, c_out]))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, values, bias, h, c, active, y, kept, *index)

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, _: None
    ) -> tuple[Any, ...]:
        _, values, _, h, c, active, y, kept, *index = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return (*_differentiable(ctx, (dy, dh, dc)), *(None,) * (6 + len(index)))
        before, tail = earlier(y, h, active, ctx.reverse), (ctx.layout, ctx.shape)
        run = operators.run_recurrent_backward if ctx.now else _backward_op
        state = (before, kept, values, index, active, h.shape[0])
        dc = None if c is None else dc  # compilers hand one to what is empty
        dx, dq, dh, dc = run(dy, dh, dc, *state, ctx.cell, *tail, ctx.reverse)
        dq = dq if ctx.cell == "gru" else dx
        needed = ctx.needs_input_grad
        dv = autograd.linear_grad_values(dq, before, values, index, *tail) if needed[1] else None
        db = dq.sum(0) if needed[2] else None
        return (
            dx,
            dv,
            db,
            dh,
            None if c is None else dc,
            dq if needed[5] else None,
            *(None,) * (6 + len(index)),
        )


def _differentiable(ctx: Any, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Gradients of x, values, bias, h, c and the offset that can be differentiated again: those of the definition."""
    x, values, bias, h, c, active, _, _, *index = ctx.saved_tensors
    offset = torch.zeros_like(x, requires_grad=True) if ctx.needs_input_grad[5] else None
    made = _by_steps(
        x, values, index, bias, h, c, active, ctx.cell, ctx.layout, ctx.shape, ctx.reverse, offset
    )
    pairs = [(y, dy) for y, dy in zip(made, grads, strict=True) if y is not None and dy is not None]
    operands = [x, values, bias, h, c, offset]
    asked = [each for each, needed in zip(operands, ctx.needs_input_grad, strict=False) if needed]
    outputs, given = [y for y, _ in pairs], [dy for _, dy in pairs]
    found = iter(torch.autograd.grad(outputs, asked, given, create_graph=True, allow_unused=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[:6])


def _by_steps(
    x: Tensor,
    values: Tensor,
    index: Index,
    bias: Tensor | None,
    h: Tensor,
    c: Tensor | None,
    active: Tensor | None,
    cell: str,
    layout: str,
    shape: Integers,
    reverse: bool,
    offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The definition, on the products of the layout."""
    product = partial(autograd.linear, values=values, index=index, bias=bias, layout=layout, shape=shape)
    return steps(product, x, (h, c), widths(x, h, active), cell, reverse, offset)


@torch.compiler.assume_constant_result
def has_kernel(layout: str, dtype: str, device: str) -> bool:
    """Whether the core runs whole sequences of such a layer here, with gradients.

    Example:
        >>> has_kernel("block", "bfloat16", "cpu")
        False
    """
    if dtype not in ("float32", "float64") or device != "cpu" or library.find() is None:
        return False
    return pick("linear_grad_input", layout, dtype, device).isa in library.ISAS


def recurrent(
    x: Tensor,
    values: Tensor,
    index: Index,
    bias: Tensor | None,
    state: tuple[Tensor, Tensor | None],
    active: Tensor | None,
    cell: str,
    layout: str,
    shape: Integers,
    reverse: bool = False,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A recurrent layer in one direction over whole sequences, its recurrent matrix truly sparse.

    Args:
        x: [columns, gates * hidden], float32 or float64 - what the input adds to the gates. Columns are ordered by
            time, those of a time by sequence; sequences by length, longest first.
        values: of the recurrent matrix [gates * hidden, hidden], as `ops.linear` takes it.
        index: likewise.
        bias: likewise.
        state: h and c before the first step, [sequences, hidden] each; c of an LSTM alone, else None.
        active: int64 [times] on the CPU - sequences that have each time, never growing; None: all have all.
        cell: str - ``"tanh"``, ``"relu"``, ``"lstm"`` or ``"gru"``. Gates lie as in torch.
        layout: of the matrix.
        shape: likewise.
        reverse: bool - the last time is the first step.
        offset: [columns, gates * hidden] or None - zeros that stand beside what the state adds to the gates: their
            gradient is that of these sums.

    Returns:
        h after each step [columns, hidden], and h and c after the last step of each sequence.

    Raises:
        ShapeError, DtypeError, TopologyError: as `ops.linear`.

    Cost: one call of the core forward and one backward; backward keeps 4 (GRU), 5 (LSTM) or 1 numbers a state. Other
        dtypes, devices, transforms and second derivatives run step by step in torch.

    Example:
        >>> row, column = torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0]).to(torch.uint16)
        >>> given = torch.ones(2, 1), torch.ones(1), [row, column], None, (torch.zeros(1, 1), None), None
        >>> recurrent(*given, "relu", "csr", [1, 1])[0].flatten().tolist()
        [1.0, 2.0]
    """
    h, c = state
    c = c.clone() if c is h else c  # torch.compile takes no tensor twice
    if not x.is_meta and torch.is_autocast_enabled("cpu" if x.is_cpu else x.device.type):
        x, values, h = x.float(), values.float(), h.float()
        bias, c = None if bias is None else bias.float(), None if c is None else c.float()
    place = (layout, str(values.dtype).removeprefix("torch."), values.device.type)
    if transformed() or not has_kernel(*place):
        return _by_steps(x, values, index, bias, h, c, active, cell, layout, shape, reverse, offset)
    now = direct(x, values, bias, h, c)
    tail = (active, cell, layout, shape, reverse)
    if wanted(x, values, bias, h, c, offset):
        made = record(_Recurrent, now, x, values, bias, h, c, offset, *tail, now, *index)
    else:
        run = operators.run_recurrent if now else _forward_op
        made = run(x, values, index, bias, h, c, *tail, False)
    y, h, c_out, _ = made
    return y, h, c_out if cell == "lstm" else None
