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
        where: str - what errors say of it.

    Example:
        >>> index = {"row_ptr": np.array([0, 1], np.int32), "col": np.array([0], np.uint16)}
        >>> step = RecurrentStep(Encoded("csr", (1, 1), {}, np.ones(1, np.float32), index), None, "relu", False, False)
        >>> step(np.ones((3, 1, 1), np.float32)).ravel().tolist()
        [1.0, 2.0, 3.0]
    """

    def __init__(
        self, form: Encoded, bias: Any, cell: str, reverse: bool, batch_first: bool, where: str = "recurrent"
    ) -> None:
        self.form, self.bias, self.cell, self.where = form, bias, cell, where
        self.reverse, self.batch_first = reverse, batch_first
        self.rows, self.hidden = form.shape
        self.name, self.dtype, self.parts = form.dtype, dtype_of(form.dtype), 2 if cell == "lstm" else 1
        self.matrix = pack.matrix(form.values, list(form.index.values()), form.layout, form.dims, form.scale)
        self.at_bias = 0 if bias is None else pack.address(bias)
        self._rooms = list[Array]()  # of calls before; list.pop and append are safe among threads

    def __call__(self, x: Any) -> Any:
        """The states after each step, from a state of zeros."""
        return self.advance(x, None)[0]

    def advance(self, x: Any, state: Array | None) -> tuple[Any, Array]:
        """States after each step, and the last one.

        Args:
            x: what the inputs add to the gates - tensor or array.
            state: [1, hidden, sequences], of an LSTM [2, ..]: h, and c - after the times before; None: zeros.

        Raises:
            ShapeError: other dimensions, no time, or a state of another number of sequences.
            DtypeError: inputs of another type.

        Cost: one call into the core, a copy of x where its times are not outermost.
        """
        arrays = isinstance(x, np.ndarray)
        if (x.dtype != self.dtype) if arrays else (name_of(x) != self.name):
            raise DtypeError(self.where, expected=f"an input of {self.name}", got=name_of(x))
        self.check(x)
        swapped = self.batch_first and 1 not in x.shape[:2]  # else both orders are one in memory
        given = pack.contiguous(x.swapaxes(0, 1) if swapped else x)
        size = (*given.shape[:2], self.hidden)
        y = np.empty(size, self.dtype) if arrays else given.new_empty(size)
        width, times = x.shape[:2] if self.batch_first else x.shape[1::-1]
        last = self._run(given, self._first(state, times, width), times, width, y)
        return (y.swapaxes(0, 1) if swapped else y), last

    def check(self, x: Any) -> None:
        """Refuse what is no batch of sequences; raises ShapeError."""
        if x.ndim != 3:
            front = "[batch, times" if self.batch_first else "[times, batch"
            hint = (
                f"x[{'None' if self.batch_first else ':, None'}] is a batch of one sequence"
                if x.ndim == 2
                else ""
            )
            got = f"{list(x.shape)}"
            raise ShapeError(self.where, expected=f"gates {front}, {self.rows}]", got=got, hint=hint)

    def _first(self, state: Array | None, times: int, width: int) -> Array:
        """The state to begin with."""
        if not times:
            raise ShapeError(self.where, expected="at least one time", got="none")
        if state is None:
            return np.zeros((self.parts, self.hidden, width), self.dtype)
        if state.shape != (self.parts, self.hidden, width):
            got = f"{state.shape[2]} in the state"
            raise ShapeError(self.where, expected=f"{width} sequences, as before", got=got)
        return state

    def _run(self, given: Any, first: Array, times: int, width: int, y: Any) -> Array:
        """The call, with addresses in place of views, which would take longer than a small product."""
        last, room = np.empty_like(first), self._room((2 * GATES[self.cell] + 4) * self.hidden * width)
        both, part = (pack.address(first), pack.address(last)), self.hidden * width * self.dtype.itemsize
        h, h_out = both
        c, c_out = (each + part for each in both) if self.parts == 2 else (0, 0)
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
            *head, pack.address(room), library.parallel_for(), pack.address(given), 1, self.rows, self.at_bias, h, c,
            pack.address(y), 1, self.hidden, h_out, c_out, 0,
        )  # fmt: skip
        self._rooms.append(room)
        return last

    def _room(self, size: int) -> Array:
        """So many numbers that nobody else uses at the time."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = np.empty(size, self.dtype)
        return room if room.size >= size else np.empty(size, self.dtype)
