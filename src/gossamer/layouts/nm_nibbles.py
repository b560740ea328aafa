"""N:M with places of four bits: sixteen neurons side by side, tiles of up to sixteen inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import Array, nonzero
from gossamer.layouts.base import Encoded, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Dims, Makes, Numbers, Parameters, Shape, Spec
from gossamer.layouts.nm import NmLayout

NEURONS = 16
LARGEST_TILE = 16  # inputs that a place of four bits can name
WORD = 8  # places in the four bytes of a neuron


@layouts.register("nm_nibbles")
class NmNibbles(NmLayout):
    """``offset`` [ceil(out / 16), ceil(in / m * n / 8), 16, 4]: eight places of a neuron in four bytes, in order.

    Neurons are padded with zeros at the first offsets, words with zeros.
    """

    number = 12
    convolves: ClassVar[bool] = False
    trains = False
    values: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "int8")
    lanes = NEURONS
    rates = ()
    up_to_batch: ClassVar[int | None] = (
        8  # samples are taken one after the other, each reads the whole weight
    )
    side: ClassVar[int] = 1  # tiles side by side: as many places of a neuron that no order parts

    def fit(self, connections: Connections) -> Parameters | str:
        """As nm; float32 only, tiles of up to 16 inputs."""
        if connections.dtype != "float32":
            return f"torch.{connections.dtype} instead of torch.float32"
        fits = super().fit(connections)
        if isinstance(fits, dict) and fits["m"] > LARGEST_TILE:
            return f"tiles of {fits['m']} inputs, more than {LARGEST_TILE}"
        return fits

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        plain = super().arrange(connections, parameters)
        offset = plain.index["offset"]
        values = self._steps(plain.values.reshape(offset.shape))
        places = self._packed(self._steps(offset, np.arange(parameters["n"], dtype=np.uint8)))
        return Encoded(self.name, plain.shape, parameters, values.reshape(-1), {"offset": places})

    def restore(self, encoded: Encoded) -> Connections:
        """The rows and tiles that exist, once the padded ones are known to be zero."""
        (n_out, n_in), (n, m) = encoded.shape, encoded.parameters.values()
        blocks, steps, lanes = self._sizes(encoded.shape, n, m)
        self.expect(encoded, blocks * steps * lanes)
        nibbles = self._unpacked(encoded.index["offset"])
        values, places = (
            self._rows(t.reshape(blocks, steps, lanes), n) for t in (encoded.values, nibbles[:, :steps])
        )
        padding = np.ones(places.shape, bool)
        padding[:n_out, : n_in // m] = False
        others = nonzero(values) | (places != np.arange(n))
        if bool(others[padding].any()) or bool(nibbles[:, steps:].any()):
            raise FormatError(
                f"layout {self.name}", expected="padding of zeros at the first offsets", got="something else"
            )
        plain = {"offset": np.ascontiguousarray(places[:n_out, : n_in // m])}
        flat = values[:n_out, : n_in // m].reshape(-1)
        return super().restore(Encoded("nm", encoded.shape, encoded.parameters, flat, plain))

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Words of sixteen neurons side by side."""
        self.grid(shape, parameters)
        blocks, steps, _ = self._sizes(shape, parameters["n"], parameters["m"])
        return {"offset": ("uint8", (blocks, -(-steps * self.side // WORD), NEURONS, 4))}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """As nm, with places of four bits."""
        expected = super().wants(shape, parameters)
        return expected or (
            "" if parameters["m"] <= LARGEST_TILE else f"tiles of up to {LARGEST_TILE} inputs"
        )

    def used(self, sizes: Sequence[Sequence[int]], shape: Dims) -> int:
        """Padding is stored as well, but for that of words."""
        n_out, n_in, n, m = shape
        return prod(self._sizes((n_out, n_in), n, m))

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Sixteen rows at a time, ``side`` tiles at a time."""
        n_out, n_in, n, m = shape
        sizes = blocks, steps, lanes = self._sizes((n_out, n_in), n, m)
        places = self._places(index[0], make).reshape(blocks, -1, lanes)[:, :steps]
        block, step, lane = (make.arange(size) for size in sizes)
        row = make.spread(block[:, None, None] * NEURONS + lane // self.side, sizes)
        tile = step[None, :, None] // n * self.side + lane % self.side
        return row.reshape(-1), (tile * m + places).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Places within their tiles."""
        return bool((self._places(index[0], make) < shape[3]).all())

    # --- the order of places ---------------------------------------------------------------------------------------
    def _sizes(self, shape: Shape, n: int, m: int) -> tuple[int, int, int]:
        """Blocks of neurons, steps of a block, and places of a step."""
        return -(-shape[0] // NEURONS), -(-shape[1] // m // self.side) * n, NEURONS * self.side

    def _places(self, offset: Any, make: Makes) -> Any:
        """[blocks, words, steps of a word / 2, 2, lanes], int64: every place, those past the last step included."""
        blocks, words = offset.shape[:2]
        both = make.wide(offset)[..., None] >> make.arange(2) * 4 & 15
        each = both.reshape(blocks, words, NEURONS * self.side, WORD // self.side // 2, 2)
        return each.swapaxes(2, 3).swapaxes(3, 4)

    def _steps(self, rows: Array, first: Array | int = 0) -> Array:
        """[out, tiles, n] to [blocks, steps, lanes], padding filled up with ``first``."""
        n_out, tiles, n = rows.shape
        full = np.zeros((-(-n_out // NEURONS) * NEURONS, -(-tiles // self.side) * self.side, n), rows.dtype)
        if not isinstance(first, int):
            full += first
        full[:n_out, :tiles] = rows
        blocks = full.reshape(-1, NEURONS, full.shape[1] // self.side, self.side, n).transpose(0, 2, 4, 1, 3)
        return np.ascontiguousarray(blocks).reshape(blocks.shape[0], -1, NEURONS * self.side)

    def _rows(self, steps: Array, n: int) -> Array:
        """The inverse, padding included."""
        blocks, count, _ = steps.shape
        each = steps.reshape(blocks, count // n, n, NEURONS, self.side).transpose(0, 3, 1, 4, 2)
        return each.reshape(blocks * NEURONS, count // n * self.side, n)

    def _packed(self, places: Array) -> Array:
        """[blocks, steps, lanes] of places to two a byte, [blocks, words, 16, 4]."""
        blocks, steps, lanes = places.shape
        words, together = -(-steps * self.side // WORD), WORD // self.side
        full = np.zeros((blocks, words * together, lanes), np.uint8)
        full[:, :steps] = places
        pairs = full.reshape(blocks, words, together // 2, 2, lanes)
        held = (pairs[:, :, :, 0] | pairs[:, :, :, 1] << 4).transpose(0, 1, 3, 2)
        return np.ascontiguousarray(held).reshape(blocks, words, NEURONS, 4)

    def _unpacked(self, offset: Array) -> Array:
        """The inverse, padding included."""
        blocks, words = offset.shape[:2]
        both = np.stack((offset & 15, offset >> 4), -1)
        each = both.reshape(blocks, words, NEURONS * self.side, WORD // self.side // 2, 2)
        return each.transpose(0, 1, 3, 4, 2).reshape(blocks, words * (WORD // self.side), -1)
