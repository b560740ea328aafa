"""Recurrent layers over whole sequences as torch sees them: schemas, what runs, and shapes for tracing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import ShapeError
from gossamer.kernels.cpu import library, pack, transposed
from gossamer.kernels.cpu import recurrent as core
from gossamer.kernels.cpu.recurrent import GATES, KEPT
from gossamer.kernels.dispatch import pick
from gossamer.ops.check import check_product
from gossamer.ops.flops import register_recurrent
from gossamer.ops.schemas import LIBRARY

Index = Sequence[Tensor]
Integers = Sequence[int]
OPERATION = "ops.recurrent"

LIBRARY.define(
    "recurrent(Tensor x, Tensor values, Tensor[] index, Tensor? bias, Tensor h, Tensor? c, Tensor? active, str cell,"
    " str layout, int[] shape, bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor)"
)
LIBRARY.define(
    "recurrent_backward(Tensor? grad, Tensor? grad_h, Tensor? grad_c, Tensor before, Tensor kept, Tensor values,"
    " Tensor[] index, Tensor? active, int width, str cell, str layout, int[] shape, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)


def run_recurrent(
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
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs, last h and c, and what the pass backward reads; c and that are empty where there are none."""
    check_product(OPERATION, None, x, values, index, bias, layout, shape)
    _check_state(h, c, cell, shape, x)
    run = _steps(values, index, layout, shape, active, h.shape[0], x.shape[0], cell, reverse)
    y, h_out, c_out, kept = _recurrent_fake(
        x, values, index, bias, h, c, active, cell, layout, shape, reverse, keep
    )
    given = None if c is None else _features_first(c)
    made = (h_out.t(), None if c is None else c_out.t(), kept if keep else None)
    core.forward(run, _columns(x, h.shape[0]), bias, _features_first(h), given, y, *made)
    return y, h_out, c_out, kept


def run_recurrent_backward(
    grad: Tensor | None,
    grad_h: Tensor | None,
    grad_c: Tensor | None,
    before: Tensor,
    kept: Tensor,
    values: Tensor,
    index: Index,
    active: Tensor | None,
    width: int,
    cell: str,
    layout: str,
    shape: Integers,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, q, h and c; that of q is empty but for a GRU, that of c but for an LSTM."""
    check_product(OPERATION, before, None, values, index, None, layout, shape)
    _check_cell(cell, shape)
    _check_given(before.shape[0], width, (grad, grad_h, grad_c), kept, values, cell, shape[1])
    run = _steps(values, index, layout, shape, active, width, before.shape[0], cell, reverse)
    dx, dq, dh, dc = _backward_fake(
        grad, grad_h, grad_c, before, kept, values, index, active, width, cell, layout, shape, reverse
    )
    states = [None if each is None else _features_first(each) for each in (grad_h, grad_c)]
    found = transposed.find(index, run.matrix, width * values.itemsize)
    columns = None if found is None else (found.packed, values.new_empty(found.connections))
    outs = (dx, dq if cell == "gru" else None, dh.t(), dc.t() if cell == "lstm" else None)
    grads = (None if grad is None else _columns(grad, width), *states)
    core.backward(run, grads, _columns(before, width) if cell == "gru" else None, kept, outs, columns)
    return dx, dq, dh, dc


def _steps(
    values: Tensor,
    index: Index,
    layout: str,
    shape: Integers,
    active: Tensor | None,
    width: int,
    columns: int,
    cell: str,
    reverse: bool,
) -> core.Steps:
    """For the kernels that the table has for these values."""
    row = pick("linear", layout, values.dtype, "cpu")
    times = columns // max(width, 1) if active is None else active.numel()
    if active is not None:
        active = active.to(device="cpu", dtype=torch.int64).contiguous()
    room = values.new_empty((2 * GATES[cell] + 4) * shape[1] * width)
    matrix = pack.matrix(values, index, layout, shape)
    return core.Steps(matrix, library.ISAS[row.isa], cell, times, reverse, width, columns, active, room)


def _columns(x: Tensor, width: int) -> Tensor:
    """[columns, features] with a stride of 1, and none of 0; of one sequence, step by step."""
    if width == 1:
        return x.contiguous()
    column, feature = x.stride()
    narrow = (feature == 1 or x.shape[1] == 1) and (column > 0 or x.shape[0] == 1)
    wide = (column == 1 or x.shape[0] == 1) and (feature > 0 or x.shape[1] == 1)
    return x if narrow or wide else x.contiguous()


def _features_first(state: Tensor) -> Tensor:
    """[hidden, sequences], contiguous."""
    return state.t().contiguous()


def _check_state(h: Tensor, c: Tensor | None, cell: str, shape: Integers, x: Tensor) -> None:
    """Refuse states of other shapes, and a c that the cell has not."""
    _check_cell(cell, shape)
    if (c is None) == (cell == "lstm"):
        raise ShapeError(OPERATION, expected="a state c for an LSTM alone", got=f"{cell!r}")
    for name, state in (("h", h), ("c", h if c is None else c)):
        if state.ndim != 2 or state.shape != (h.shape[0], shape[1]) or state.dtype != x.dtype:
            expected = f"{name} [{h.shape[0]}, {shape[1]}] of {x.dtype}"
            raise ShapeError(OPERATION, expected=expected, got=f"{tuple(state.shape)} of {state.dtype}")


def _check_cell(cell: str, shape: Integers) -> None:
    """Refuse an unknown cell, and a matrix that has not its gates."""
    if cell not in GATES or shape[0] != GATES[cell] * shape[1]:
        expected = f"a cell of {', '.join(GATES)} and its gates of {shape[1]} rows"
        raise ShapeError(OPERATION, expected=expected, got=f"{cell!r} and {shape[0]} rows")


def _check_given(
    columns: int,
    width: int,
    grads: tuple[Tensor | None, ...],
    kept: Tensor,
    values: Tensor,
    cell: str,
    hidden: int,
) -> None:
    """Refuse what the pass backward would read past: gradients of other sizes, and what another pass kept."""
    sizes = ((columns, hidden), (width, hidden), (width, hidden))
    pairs = [(each, size) for each, size in zip(grads, sizes, strict=True) if each is not None]
    for each, size in [*pairs, (kept, (columns * hidden * KEPT[cell],))]:
        if (
            tuple(each.shape) != size
            or each.dtype != values.dtype
            or (each is kept and not kept.is_contiguous())
        ):
            got = f"{tuple(each.shape)} of {each.dtype}"
            raise ShapeError(OPERATION, expected=f"{size} of {values.dtype}", got=got)


def _laid_out(like: Tensor, columns: Any, features: int, width: Any) -> Tensor:
    """[columns, features]: features outermost in memory, as products want them; one sequence lies step by step."""
    if width == 1:
        return like.new_empty((columns, features))
    return like.new_empty((features, columns)).t()


def _recurrent_fake(
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
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del values, index, bias, active, layout, reverse
    columns, width, hidden = x.shape[0], h.shape[0], shape[1]
    state = [x.new_empty((hidden, width)).t() if each is not None else x.new_empty(0) for each in (h, c)]
    kept = x.new_empty(columns * hidden * KEPT[cell] if keep else 0)
    return _laid_out(x, columns, hidden, width), state[0], state[1], kept


def _backward_fake(
    grad: Tensor | None,
    grad_h: Tensor | None,
    grad_c: Tensor | None,
    before: Tensor,
    kept: Tensor,
    values: Tensor,
    index: Index,
    active: Tensor | None,
    width: Any,
    cell: str,
    layout: str,
    shape: Integers,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del grad, grad_h, grad_c, kept, index, active, layout, reverse
    columns = before.shape[0]
    dx = _laid_out(values, columns, shape[0], width)
    dq = _laid_out(values, columns, shape[0], width) if cell == "gru" else values.new_empty(0)
    h, c = (values.new_empty((shape[1], width)).t() for _ in range(2))
    return dx, dq, h, c if cell == "lstm" else values.new_empty(0)


def _recurrent_vmap(info: Any, dims: Any, *given: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """One sample of the outer batch after the other."""

    def one(each: Any, dim: Any, number: int) -> Any:
        if isinstance(each, (list, tuple)) and isinstance(dim, (list, tuple)):
            return [one(*pair, number) for pair in zip(each, dim, strict=True)]
        return each if dim is None else each.select(dim, number)

    made = [
        torch.ops.gossamer.recurrent(*(one(*pair, number) for pair in zip(given, dims, strict=True)))
        for number in range(info.batch_size)
    ]
    return tuple(torch.stack(parts) for parts in zip(*made, strict=True)), (0, 0, 0, 0)


for _name, _run, _fake in (
    ("recurrent", run_recurrent, _recurrent_fake),
    ("recurrent_backward", run_recurrent_backward, _backward_fake),
):
    LIBRARY.impl(_name, _run, "CPU")
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=LIBRARY)
torch.library.register_vmap("gossamer::recurrent", _recurrent_vmap, lib=LIBRARY)

register_recurrent()
