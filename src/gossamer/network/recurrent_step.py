"""A recurrent layer of a frozen network, in one direction: by the core, on tensors and on arrays, with its state."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu import recurrent as core
from gossamer.kernels.cpu.numbers import forced_isa
from gossamer.kernels.cpu.recurrent import GATES
from gossamer.layouts import Encoded
from gossamer.layouts.arrays import Array, dtype_of, name_of


class RecurrentStep:
    """Whole sequences, or the next times of some that go on.

    Args:
        form: Encoded - the recurrent matrix.
        bias: [gates * hidden] or None.
        cell: str - "tanh", "relu", "lstm" or "gru".
        reverse: bool - the last time is the first step.
        batch_first: bool - x is [batch, times, gates * hidden], not [times, batch, ..].

    Example:
        >>> index = {"row_ptr": np.array([0, 1], np.int32), "col": np.array([0], np.uint16)}
        >>> step = RecurrentStep(Encoded("csr", (1, 1), {}, np.ones(1, np.float32), index), None, "relu", False, False)
        >>> step(np.ones((3, 1, 1), np.float32)).ravel().tolist()
        [1.0, 2.0, 3.0]
    """

    def __init__(self, form: Encoded, bias: Any, cell: str, reverse: bool, batch_first: bool) -> None:
        self.form, self.bias, self.cell = form, bias, cell
        self.reverse, self.batch_first = reverse, batch_first
        index = list(form.index.values())
        self.matrix = pack.matrix(form.values, index, form.layout, form.dims, form.scale)
        self.rows, self.hidden = form.shape
        self.dtype, self.parts = dtype_of(form.dtype), 2 if cell == "lstm" else 1

    def __call__(self, x: Any) -> Any:
        """The states after each step, from a state of zeros."""
        return self.advance(x, None)[0]

    def advance(self, x: Any, state: Array | None) -> tuple[Any, Array]:
        """States after each step, and the last one.

        Args:
            x: what the inputs add to the gates - tensor or array.
            state: [1, hidden, sequences], of an LSTM [2, ..]: h, and c - after the times before; None: zeros.

        Raises:
            ShapeError: no time, or a state of another number of sequences. DtypeError: inputs of another type.

        Cost: one call into the core, a copy of x where its times are not outermost.
        """
        if name_of(x) != self.form.dtype:
            raise DtypeError("recurrent", expected=f"an input of {self.form.dtype}", got=name_of(x))
        given = pack.contiguous(x.swapaxes(0, 1) if self.batch_first else x)
        times, width, _ = given.shape
        size = (times, width, self.hidden)
        y = given.new_empty(size) if hasattr(given, "new_empty") else np.empty(size, self.dtype)
        last = self._run(given, self._first(state, times, width), y)
        return (y.swapaxes(0, 1) if self.batch_first else y), last

    def _first(self, state: Array | None, times: int, width: int) -> Array:
        """The state to begin with."""
        if not times:
            raise ShapeError("recurrent", expected="at least one time", got="none")
        if state is None:
            return np.zeros((self.parts, self.hidden, width), self.dtype)
        if state.shape != (self.parts, self.hidden, width):
            got = f"{state.shape[2]} in the state"
            raise ShapeError("recurrent", expected=f"{width} sequences, as before", got=got)
        return state

    def _run(self, given: Any, first: Array, y: Any) -> Array:
        """The call, with addresses in place of views, which would take longer than a small product."""
        times, width, _ = given.shape
        last, room = (
            np.empty_like(first),
            np.empty((2 * GATES[self.cell] + 4) * self.hidden * width, self.dtype),
        )
        both, part = (pack.address(first), pack.address(last)), self.hidden * width * self.dtype.itemsize
        h, h_out = both
        c, c_out = (each + part for each in both) if self.parts == 2 else (0, 0)
        bias = 0 if self.bias is None else pack.address(self.bias)
        head = (
            *self.matrix,
            forced_isa(),
            core.CELLS[self.cell],
            times,
            self.reverse,
            width,
            times * width,
            0,
        )
        core.run_forward(
            *head, pack.address(room), library.parallel_for(), pack.address(given), 1, self.rows, bias, h, c,
            pack.address(y), 1, self.hidden, h_out, c_out, 0,
        )  # fmt: skip
        return last
