"""N:M for a vector unit: eight neurons side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import Array, nonzero
from gossamer.layouts.base import Encoded, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Dims, Makes, Numbers, Parameters, Shape, Spec
from gossamer.layouts.nm import NmLayout

LANES = 8


@layouts.register("nm_lanes")
class NmLanes(NmLayout):
    """``offset`` [ceil(out / 8), in / m, n, 8]: eight neurons side by side, padded with zeros at the end."""

    number = 3
    convolves = False
    trains = False
    values = ("float32", "bfloat16", "int8")
    lanes = LANES
    rates = ()
    up_to_batch = 8  # samples are taken one after the other: every one reads the whole weight

    def fit(self, connections: Connections) -> Parameters | str:
        """As nm; float32 only."""
        if connections.dtype != "float32":
            return f"torch.{connections.dtype} instead of torch.float32"
        return super().fit(connections)

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        plain = super().arrange(connections, parameters)
        shape = plain.index["offset"].shape
        values, offset = _lanes(plain.values.reshape(shape)), _lanes(plain.index["offset"])
        if shape[0] % LANES:
            offset[-1, ..., shape[0] % LANES :] = np.arange(parameters["n"], dtype=np.uint8)[:, None]
        return Encoded(self.name, plain.shape, parameters, values.reshape(-1), {"offset": offset})

    def restore(self, encoded: Encoded) -> Connections:
        """The rows that exist, once the padded ones are known to be zero."""
        n_out, offset = encoded.shape[0], encoded.index["offset"]
        self.expect(encoded, offset.size)
        values, rows = _rows(encoded.values.reshape(offset.shape)), _rows(offset)
        first = np.arange(encoded.parameters["n"])
        if bool(nonzero(values[n_out:]).any()) or bool((rows[n_out:] != first).any()):
            raise FormatError(
                "layout nm_lanes", expected="padding of zeros at the first offsets", got="something else"
            )
        plain = {"offset": rows[:n_out]}
        return super().restore(
            Encoded("nm", encoded.shape, encoded.parameters, values[:n_out].reshape(-1), plain)
        )

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Offsets of eight neurons side by side."""
        dtype, (rows, tiles, n) = super().spec(shape, parameters)["offset"]
        return {"offset": (dtype, (-(-rows // LANES), tiles, n, LANES))}

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Eight rows at a time, tile by tile."""
        (offset,), (_, n_in, _, m) = index, shape
        first = make.arange(offset.shape[0])[:, None, None, None] * LANES
        row = make.spread(first + make.arange(LANES), offset.shape)
        tile = make.arange(n_in // m)[None, :, None, None]
        return row.reshape(-1), (tile * m + make.wide(offset)).reshape(-1)


def _lanes(rows: Array) -> Array:
    """[out, tiles, n] to [ceil(out / 8), tiles, n, 8], zeros at the end."""
    blocks = -(-rows.shape[0] // LANES)
    full = np.zeros((blocks * LANES, *rows.shape[1:]), rows.dtype)
    full[: rows.shape[0]] = rows
    return np.ascontiguousarray(full.reshape(blocks, LANES, *rows.shape[1:]).transpose(0, 2, 3, 1))


def _rows(lanes: Array) -> Array:
    """The inverse of ``_lanes``, padded rows included."""
    return lanes.transpose(0, 3, 1, 2).reshape(-1, *lanes.shape[1:3])
