"""A bit for each weight, and the values of those that are there: for layers with many connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gossamer.errors import ShapeError, TopologyError
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import (
    POINTERS,
    Address,
    Dims,
    Fields,
    Makes,
    Numbers,
    Parameters,
    Shape,
    Spec,
)
from gossamer.layouts.ranges import DAMAGED

WORD = 64  # inputs of a word
SINGLE = ("csr", "fanin")  # of patterns whose index says no more than this one: which connections there are


@layouts.register("bitmask")
class Bitmask(Layout):
    """``row_ptr`` [out + 1] and ``mask`` [out, ceil(in / 64) * 8], a bit an input, the first in the lowest one.

    Values are those of the bits that are set, row by row. ``n`` is how many there are.
    """

    number = 11
    parameters = ("n",)
    values: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "int8")
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"row_ptr": POINTERS, "mask": ("uint8",)}
    up_to_batch: ClassVar[int | None] = 8  # the weight is spread out again for every four samples
    densest = 0.75

    def fit(self, connections: Connections) -> Parameters | str:
        """Single connections, float32 and up to 2^31 of them."""
        if connections.dtype != "float32":
            return f"torch.{connections.dtype} instead of torch.float32"
        if connections.trained is not None and connections.trained.layout not in SINGLE:
            return f"trained as {connections.trained.layout}, which bits do not tell"
        n = connections.positions.size
        return {"n": n} if n < 1 << 31 else f"{n} connections are more than 2^31"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(dense size) bits, and a byte for each weight on the way."""
        n_out, n_in = connections.shape
        there = np.zeros((n_out, _width(n_in)), np.uint8)
        there[connections.rows, connections.cols] = 1
        mask = np.packbits(there, axis=1, bitorder="little")
        row_ptr = np.zeros(n_out + 1, np.int32)
        np.cumsum(connections.fan_in(), out=row_ptr[1:])
        index: Index = {"row_ptr": row_ptr, "mask": mask}
        return Encoded(self.name, connections.shape, parameters, connections.values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Bits past the last input are 0, and pointers count the others."""
        n_in, stored = encoded.shape[1], encoded.parameters["n"]
        there = np.unpackbits(encoded.index["mask"], axis=1, bitorder="little")
        counts, found = np.diff(encoded.index["row_ptr"].astype(np.int64)), there.sum(1, dtype=np.int64)
        first = int(encoded.index["row_ptr"][0])
        if (
            first
            or not np.array_equal(counts, found)
            or int(found.sum()) != stored
            or bool(there[:, n_in:].any())
        ):
            raise TopologyError(
                f"layout {self.name}",
                expected=f"{stored} bits within {n_in} inputs, and pointers that count them",
                got="others",
                hint=DAMAGED,
            )
        self.expect(encoded, stored)
        positions = np.flatnonzero(there[:, :n_in])
        return Connections(encoded.shape, positions, encoded.values)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers, and whole words of bits."""
        self.grid(shape, parameters)
        return {"row_ptr": ("int32", (shape[0] + 1,)), "mask": ("uint8", (shape[0], _width(shape[1]) // 8))}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """No more connections than weights."""
        return "" if 0 <= parameters["n"] <= shape[0] * shape[1] else "no more connections than weights"

    def used(self, sizes: Sequence[Sequence[int]], shape: Dims) -> int:
        """The shapes of the index do not tell: the layout's integer does."""
        return shape[2]

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Row by row, the inputs whose bits are set."""
        bits = make.wide(index[1])[..., None] >> make.arange(8) & 1
        width = _width(shape[1])
        place = make.repeat(make.arange(shape[0] * width), bits.reshape(-1))
        return place // max(width, 1), place % max(width, 1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """As many bits as connections, too."""
        row, col = self.coordinates(index, shape, make)
        return bool((col < shape[1]).all()) and row.shape[0] == shape[2]

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Row pointers, and the mask in place of columns."""
        rows, mask = index
        if rows.shape[0] != shape[0] + 1:
            raise ShapeError("kernels.cpu", expected=f"row_ptr [{shape[0] + 1}]", got=f"{tuple(rows.shape)}")
        return (self.number or 0, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0],
                mask.shape[0] * mask.shape[1], rows.itemsize, 1, at(values), at(rows), at(mask))  # fmt: skip


def _width(n_in: int) -> int:
    """Bits of a row."""
    return -(-n_in // WORD) * WORD
