"""N:M in bytes: int8 values for inputs that are rounded to int8, sixteen neurons and two tiles side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import Array, name_of
from gossamer.layouts.base import Encoded, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Dims, Makes, Numbers, Parameters, Shape, Spec
from gossamer.layouts.nm import NmLayout

NEURONS = 16
LARGEST_TILE = 16  # a pair of tiles fills a look-up of 32 inputs
MOST = 1 << 17  # connections of a neuron: so many products of two bytes always fit 32 bits


@layouts.register("nm_bytes")
class NmBytes(NmLayout):
    """``offset`` [ceil(out / 16), ceil(in / m / 2), n, 16, 2]: from the first input of each pair of tiles.

    Padded with zeros to whole blocks of neurons and pairs of tiles. Int8 values only; inputs are rounded when read.
    """

    number = 7
    convolves = False
    trains = False
    values = ("int8",)
    lanes = NEURONS
    rates = ()
    compute = "int8"

    def fit(self, connections: Connections) -> Parameters | str:
        """As nm; int8 values, tiles of up to 16 inputs."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        fits = super().fit(connections)
        if isinstance(fits, dict) and fits["m"] > LARGEST_TILE:
            return f"tiles of {fits['m']} inputs, more than {LARGEST_TILE}"
        if isinstance(fits, dict) and per_neuron(connections.shape, fits) > MOST:
            return f"{per_neuron(connections.shape, fits)} connections a neuron, more than {MOST}"
        return fits

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        plain = super().arrange(connections, parameters)
        offset = plain.index["offset"]
        values = _bytes(plain.values.reshape(offset.shape))
        places = _bytes(offset, first=parameters["m"])
        return Encoded(self.name, plain.shape, parameters, values.reshape(-1), {"offset": places})

    def restore(self, encoded: Encoded) -> Connections:
        """The rows and tiles that exist, once the padded ones are known to be zero."""
        (n_out, n_in), m, offset = encoded.shape, encoded.parameters["m"], encoded.index["offset"]
        self.expect(encoded, offset.size)
        values, places = (_rows(t) for t in (encoded.values.reshape(offset.shape), offset.astype(np.int16)))
        places[:, 1::2] -= m
        padding = np.ones(places.shape, bool)
        padding[:n_out, : n_in // m] = False
        others = (values != 0) | (places != np.arange(places.shape[2]))
        if bool(others[padding].any()):
            raise FormatError(
                "layout nm_bytes", expected="padding of zeros at the first offsets", got="something else"
            )
        if bool((places < 0).any()):
            raise FormatError("layout nm_bytes", expected="offsets within their tiles", got="others")
        flat = values[:n_out, : n_in // m].reshape(-1)
        plain = {"offset": places[:n_out, : n_in // m].astype(np.uint8)}
        return super().restore(Encoded("nm", encoded.shape, encoded.parameters, flat, plain))

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Offsets of sixteen neurons side by side, two tiles each."""
        dtype, (rows, tiles, n) = super().spec(shape, parameters)["offset"]
        return {"offset": (dtype, (-(-rows // NEURONS), -(-tiles // 2), n, NEURONS, 2))}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """As nm, with tiles and neurons of bounded size."""
        if expected := super().wants(shape, parameters):
            return expected
        fits = parameters["m"] <= LARGEST_TILE and per_neuron(shape, parameters) <= MOST
        return "" if fits else f"tiles of up to {LARGEST_TILE} inputs, {MOST} connections a neuron"

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Sixteen rows at a time, two tiles at a time."""
        (offset,), m = index, shape[3]
        block, pair, neuron = (make.arange(offset.shape[axis]) for axis in (0, 1, 3))
        rows = block[:, None, None, None, None] * NEURONS + neuron[None, None, None, :, None]
        first = pair[None, :, None, None, None] * (2 * m)
        return make.spread(rows, offset.shape).reshape(-1), (first + make.wide(offset)).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Offsets within their pairs of tiles."""
        return bool((index[0] < 2 * shape[3]).all())


def per_neuron(shape: Shape, parameters: Parameters) -> int:
    """Connections of each."""
    return shape[1] // parameters["m"] * parameters["n"]


def _bytes(rows: Array, first: int | None = None) -> Array:
    """[out, tiles, n] to [blocks, pairs, n, 16, 2]; offsets, where ``first`` begins a second tile, or values."""
    n_out, tiles, n = rows.shape
    full = np.zeros((-(-n_out // NEURONS) * NEURONS, -(-tiles // 2) * 2, n), rows.dtype)
    if first is not None:
        full += np.arange(n, dtype=rows.dtype)
    full[:n_out, :tiles] = rows
    full[:, 1::2] += rows.dtype.type(first or 0)
    blocks = full.reshape(-1, NEURONS, full.shape[1] // 2, 2, n).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(blocks)


def _rows(packed: Array) -> Array:
    """The inverse of ``_bytes``, padding included; offsets stay as they are."""
    blocks, pairs, n, _, _ = packed.shape
    return packed.transpose(0, 3, 1, 4, 2).reshape(blocks * NEURONS, pairs * 2, n)
