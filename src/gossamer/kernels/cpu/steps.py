"""The steps of a whole network as the core reads them: planes in memory, and what is done to them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from gossamer.kernels.cpu import pack
from gossamer.layouts import Encoded
from gossamer.layouts.arrays import Array
from gossamer.layouts.planes import Places

KINDS: Final = {"move": 0, "conv": 1, "max pool": 2, "mean pool": 3, "map": 4}
WINDOW: Final = np.dtype([("begin", np.int32), ("end", np.int32), ("divisor", np.float32)])
STEP: Final = struct.Struct("q 30q 2q 2q 2q 2q q q d 17q 13q q")  # gs_step
PLACES: Final = struct.Struct("13q")  # gs_places
PLAN: Final = struct.Struct("6q")  # gs_plan
CALL: Final = struct.Struct("7q")  # gs_plan_call


class View(NamedTuple):
    """``gs_view``: where an image lies. ``memory`` 0 is the arena, k + 1 what a call brings along as number k."""

    memory: int
    at: int
    plane: int
    pitch: int
    phase: int
    channels: int
    height: int
    width: int
    phases_h: int = 1
    phases_w: int = 1


NOWHERE: Final = View(0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Step:
    """``gs_step``: one of ``KINDS``, what it reads and writes, and what that kind needs; see the C header.

    Args:
        kind, name: str - of KINDS; of the node of the network that it is for.
        x, out: View; more: View or None - what is added.
        rows, cols: int32 [out.height], [out.width] of a move, or None: each its own number.
        windows_h, windows_w: WINDOW, likewise, of a pool; dilation: (int, int).
        scale, shift: float32 [channels] of a map, or None.
        form: Encoded; bias: float32 [out] or None; places: Places; groups: int - of a convolution.
        activation: str or None; slope: float.
    """

    kind: str
    name: str
    x: View
    out: View
    more: View | None = None
    rows: Array | None = None
    cols: Array | None = None
    windows_h: Array | None = None
    windows_w: Array | None = None
    dilation: tuple[int, int] = (1, 1)
    scale: Array | None = None
    shift: Array | None = None
    form: Encoded | None = None
    bias: Array | None = None
    places: Places | None = None
    groups: int = 1
    activation: str | None = None
    slope: float = 0.0

    @property
    def copies(self) -> bool:
        """Whether it only moves what is there already, inside of the arena."""
        return self.kind == "move" and not self.x.memory and not self.out.memory

    def held(self) -> list[Array]:
        """The arrays that the core reads; they must live as long as the plan."""
        arrays = [self.rows, self.cols, self.windows_h, self.windows_w, self.scale, self.shift, self.bias]
        if self.form is not None and self.places is not None:
            arrays += [self.form.values, *self.form.index.values(), self.form.scale]
            arrays += [self.places.columns, self.places.spans, self.places.inside]
        return [array for array in arrays if array is not None]

    def packed(self, room: int) -> bytes:
        """The struct; ``room``: where the memory of a convolution begins."""
        return STEP.pack(
            KINDS[self.kind], *self.x, *(self.more or NOWHERE), *self.out, _at(self.rows), _at(self.cols),
            _at(self.windows_h), _at(self.windows_w), *self.dilation, _at(self.scale), _at(self.shift), _at(self.bias),
            pack.ACTIVATIONS[self.activation], self.slope, *self._matrix(), *self._places(), room,
        )  # fmt: skip

    def product(self, isa: int) -> tuple[bytes, bytes] | None:
        """``gs_call`` and ``gs_places`` of a convolution, as ``gs_conv_room`` reads them; None: it is none."""
        if self.form is None:
            return None
        call = pack.CALL.pack(*self._matrix(), isa, 1, *(0,) * 8, 0.0, *(0,) * 8)
        return call, PLACES.pack(*self._places())

    def _matrix(self) -> tuple[int, ...]:
        form = self.form
        if form is None:
            return (0,) * 17
        return pack.matrix(form.values, list(form.index.values()), form.layout, form.dims, form.scale)

    def _places(self) -> tuple[int, ...]:
        if self.form is None or self.places is None:
            return (0,) * 13
        return pack.places(self.places, self.form.shape[0] // self.groups)


def _at(array: Array | None) -> int:
    return 0 if array is None else int(array.ctypes.data)
