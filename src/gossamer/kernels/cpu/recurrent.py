"""Recurrent layers over whole sequences by the compiled core: ``gs_sequence_forward`` and ``gs_sequence_backward``."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gossamer.errors import ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.layouts.kernel_side import Fields

CELLS: Final = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}  # gs_cell
GATES: Final = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
KEPT: Final = {
    "tanh": 1,
    "relu": 1,
    "lstm": 5,
    "gru": 4,
}  # numbers of a state that a step keeps for the pass backward
FORWARD: Final = struct.Struct("38q")
BACKWARD: Final = struct.Struct("45q")


@dataclass(frozen=True)
class Steps:
    """``gs_sequence``: what both directions of a pass have in common.

    Args:
        matrix: fields of ``gs_matrix`` - [gates * hidden, hidden].
        isa: int - instruction set.
        cell: str - of ``CELLS``.
        times: int.
        reverse: bool - the last time is the first step.
        width: int - sequences.
        columns: int - times of all sequences together.
        active: int64 [times] - sequences that have each time, or None: all have all.
        room: [(2 * gates + 4) * hidden * width] - overwritten.
    """

    matrix: Fields
    isa: int
    cell: str
    times: int
    reverse: bool
    width: int
    columns: int
    active: Any
    room: Any

    def fields(self) -> Fields:
        """As the core reads them."""
        active = at(self.active)
        return (
            *self.matrix, self.isa, CELLS[self.cell], self.times, self.reverse, self.width, self.columns, active,
            at(self.room), library.parallel_for(),
        )  # fmt: skip


def at(array: Any) -> int:
    """Where an array or a tensor begins; 0 for None."""
    return 0 if array is None else pack.address(array)


def panel(array: Any) -> tuple[int, int, int]:
    """Address, feature stride and column stride of [columns, features] with a stride of 1; zeros for None."""
    if array is None:
        return 0, 0, 0
    array, (column, feature) = pack.strided(array)
    columns, features = array.shape
    return at(array), feature if features > 1 else 1, column if columns > 1 else 1


def forward(s: Steps, x: Any, bias: Any, h: Any, c: Any, out: Any, h_out: Any, c_out: Any, kept: Any) -> None:
    """Run all steps.

    Args:
        s: Steps.
        x: [columns, gates * hidden] - what the input adds to the gates.
        bias: [gates * hidden] or None.
        h: [hidden, width] - state before the first step.
        c: likewise, of an LSTM alone, else None.
        out: [columns, hidden] - written: the state after each step.
        h_out: [hidden, width] - written: the state after the last step of each sequence.
        c_out: likewise, of an LSTM alone, else None.
        kept: flat - written: what the pass backward reads; or None.

    Raises:
        ShapeError: operands that do not fit each other.
    """
    run_forward(*s.fields(), *panel(x), at(bias), at(h), at(c), *panel(out), at(h_out), at(c_out), at(kept))


def run_forward(*fields: int) -> None:
    """Call the core with all fields of ``gs_sequence_forward``; raises ShapeError."""
    _run(library.core().gs_recurrent, FORWARD.pack(*fields))


def backward(
    s: Steps,
    grads: Sequence[Any],
    before: Any,
    kept: Any,
    outs: Sequence[Any],
    by_columns: tuple[bytes, Any] | None = None,
) -> None:
    """Run all steps backward.

    Args:
        s: Steps - as it was forward.
        grads: of out [columns, hidden], h_out and c_out [hidden, width]; None is zero.
        before: [columns, hidden] - the state before each step, of a GRU; else None.
        kept: from `forward`.
        outs: gradients of x and q [columns, gates * hidden], of h and c [hidden, width], written; that of q of a GRU
            alone, that of c of an LSTM alone, else None.
        by_columns: ``gs_transposed`` and room for values in its order, or None.

    Raises:
        ShapeError: operands that do not fit each other.
    """
    (dy, dh, dc), (dx, dq, h_out, c_out) = grads, outs
    columns, room = (b"", None) if by_columns is None else by_columns
    held = ctypes.create_string_buffer(columns, max(len(columns), 1))
    at_columns = ctypes.addressof(held) if columns else 0
    call = BACKWARD.pack(
        *s.fields(), *panel(dy), at(dh), at(dc), *panel(before), at(kept), *panel(dx), *panel(dq), at(h_out), at(c_out),
        at_columns, at(room),
    )  # fmt: skip
    _run(library.core().gs_recurrent_backward, call)


def _run(function: Callable[[bytes], int], call: bytes) -> None:
    status = function(call)
    if status:
        raise ShapeError("recurrent", expected="operands that fit", got=library.status_text(status))
