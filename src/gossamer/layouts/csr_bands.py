"""Row-compressed band by band of inputs: the order in which a batch meets the connections."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gossamer.errors import ShapeError, TopologyError
from gossamer.layouts.base import Encoded, Layout, layouts
from gossamer.layouts.compressed import pointers_hold, rows_and_columns
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import (
    Address,
    Dims,
    Fields,
    Makes,
    Numbers,
    Parameters,
    Shape,
    Spec,
)

# A visit of a row to a band is worth its cost from some sixteen connections on; bands of fewer than 128 inputs gain
# nothing, for the tile of that many lies in the first cache level. Measured: docs/decisions/0011-bands-of-inputs.md.
VISIT, LEAST, MOST = 16, 128, 65536


@layouts.register("csr_bands")
class CsrBands(Layout):
    """``starts`` [bands * out + 1] and ``col`` [connections], counted from the first input of its band."""

    number = 6
    parameters = ("band",)
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"starts": ("int32",), "col": ("uint8", "uint16")}
    from_batch = 2  # a band is a pass over the rows, which a single sample does not pay back

    def fit(self, connections: Connections) -> Parameters | str:
        """Always, up to 2^31 connections."""
        (n_out, n_in), n = connections.shape, connections.positions.size
        if n >= 1 << 31:
            return f"{n} connections are more than 2^31"
        band = min(MOST, n_in, max(LEAST, VISIT * n_in * n_out // max(1, n)))
        return {"band": -(-n_in // _bands(connections.shape, band))}  # of about one size

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        (n_out, _), band = connections.shape, parameters["band"]
        part = connections.cols // band * n_out + connections.rows
        order = np.argsort(part, kind="stable")
        parts = _bands(connections.shape, band) * n_out
        starts = np.zeros(parts + 1, np.int32)
        np.cumsum(np.bincount(part, minlength=parts), out=starts[1:])
        col = (connections.cols[order] % band).astype(_offset(band))
        return Encoded(
            self.name,
            connections.shape,
            parameters,
            connections.values[order],
            {"starts": starts, "col": col},
        )

    def restore(self, encoded: Encoded) -> Connections:
        """Starts, columns and their order are checked."""
        (n_out, n_in), band = encoded.shape, encoded.parameters["band"]
        starts, col = (encoded.index[name].astype(np.int64) for name in ("starts", "col"))
        count = np.diff(starts)
        if int(starts[0]) != 0 or int(starts[-1]) != col.size or bool((count < 0).any()):
            raise TopologyError("layout csr_bands", expected=f"starts from 0 to {col.size}", got="others")
        part = np.repeat(np.arange(count.size), count)
        position = part * band + col  # ascends where columns do: a part is a row of one band
        row, column = part % n_out, part // n_out * band + col
        inside = bool((col < band).all()) and bool((column < n_in).all())
        if not inside or bool((np.diff(position) <= 0).any()):
            raise TopologyError("layout csr_bands", expected="ascending columns within a band", got="others")
        self.expect(encoded, col.size)
        positions = row * n_in + column
        order = np.argsort(positions, kind="stable")
        return Connections(encoded.shape, positions[order], encoded.values[order])

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Starts of every row in every band, and columns within one."""
        self.grid(shape, parameters)
        band = parameters["band"]
        starts = ("int32", (_bands(shape, band) * shape[0] + 1,))
        return {"starts": starts, "col": (_offset(band), (-1,))}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """A place within a band takes two bytes."""
        return "" if 1 <= parameters["band"] <= MOST else f"a band of 1 to {MOST} inputs"

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Band by band, each row by row."""
        (n_out, n_in, band), rows = shape, max(shape[0], 1)
        part, col = rows_and_columns(index, _bands((n_out, n_in), band) * n_out, make)
        return part % rows, part // rows * band + col

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Starts first."""
        return pointers_hold(index, make) and super().inside(index, shape, make)

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Starts and columns."""
        starts, cols = index
        n_starts = -(-shape[1] // shape[2]) * shape[0] + 1
        if starts.shape[0] != n_starts:
            raise ShapeError("kernels.cpu", expected=f"starts [{n_starts}]", got=f"{tuple(starts.shape)}")
        return (6, dtype, shape[0], shape[1], 1, 0, shape[2], 0, values.shape[0], cols.shape[0], starts.itemsize,
                cols.itemsize, at(values), at(starts), at(cols))  # fmt: skip


def _bands(shape: Shape, band: int) -> int:
    return -(-shape[1] // band)


def _offset(band: int) -> str:
    """The narrowest type for a place within a band."""
    return "uint8" if band <= 256 else "uint16"
