"""A recurrent layer of a frozen network, in one direction: by the core, on tensors and on arrays, with its state."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.cpu import pack
from gossamer.kernels.cpu import recurrent as core
from gossamer.kernels.cpu.recurrent import GATES
from gossamer.layouts import Encoded
from gossamer.layouts.arrays import dtype_of, name_of

State = tuple[Any, Any]  # h and c, arrays [hidden, sequences]; c of an LSTM alone, else None


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
        self.hidden = form.shape[1]

    def __call__(self, x: Any) -> Any:
        """The states after each step, from a state of zeros."""
        return self.advance(x, None)[0]

    def advance(self, x: Any, state: State | None) -> tuple[Any, State]:
        """States after each step, and the last one.

        Args:
            x: what the inputs add to the gates - tensor or array.
            state: State - the last one of the times before, or None: zeros.

        Raises:
            ShapeError: no time, or a state of another number of sequences.

        Cost: one call into the core, a copy of x where its times are not outermost.
        """
        y, given = self._arranged(x)
        times, width = given.shape[:2]
        rows, hidden = self.form.shape
        if not times:
            raise ShapeError("recurrent", expected="at least one time", got=f"{tuple(x.shape)}")
        h, c = self._first(state, width)
        h_out, c_out = np.empty_like(h), None if c is None else np.empty_like(c)
        room = np.empty((2 * GATES[self.cell] + 4) * hidden * width, dtype_of(self.form.dtype))
        run = core.Steps(self.matrix, -1, self.cell, times, self.reverse, width, times * width, None, room)
        flat, out = given.reshape(-1, rows), y.reshape(-1, hidden)
        core.forward(run, flat, self.bias, h, c, out, h_out, c_out, None)
        return (y.swapaxes(0, 1) if self.batch_first else y), (h_out, c_out)

    def _arranged(self, x: Any) -> tuple[Any, Any]:
        """Room for the result, and x, both with times outermost and without gaps."""
        if name_of(x) != self.form.dtype:
            raise DtypeError("recurrent", expected=f"an input of {self.form.dtype}", got=name_of(x))
        by_time = x.swapaxes(0, 1) if self.batch_first else x
        given = pack.contiguous(by_time)
        shape = (*given.shape[:2], self.hidden)
        made = given.new_empty(shape) if hasattr(given, "new_empty") else np.empty(shape, given.dtype)
        return made, given

    def _first(self, state: State | None, width: int) -> State:
        """The state to begin with, in arrays of its own."""
        size, lstm = (self.hidden, width), self.cell == "lstm"
        if state is None:
            zeros = np.zeros(size, dtype_of(self.form.dtype))
            return zeros, zeros if lstm else None
        if state[0].shape != size:
            got = f"{state[0].shape[1]} in the state"
            raise ShapeError("recurrent", expected=f"{width} sequences, as before", got=got)
        return state
