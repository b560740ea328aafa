"""Tiles of a matrix unit: sixteen neurons by thirty-two inputs in bfloat16, wherever a connection lies."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import nonzero
from gossamer.layouts.base import Encoded, Layout, layouts
from gossamer.layouts.compressed import compress, compressed, expand, pointers_hold, rows_and_columns
from gossamer.layouts.connections import Connections
from gossamer.layouts.grid import Grid
from gossamer.layouts.kernel_side import (
    COLUMNS,
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
from gossamer.layouts.ranges import ascending

NEURONS, INPUTS = 16, 32


@layouts.register("tiles")
class Tiles(Layout):
    """``row_ptr`` [ceil(out / 16) + 1] and ``col`` [tiles]; values are rounded to bfloat16, and so are inputs.

    A tile is whole: it holds a zero where there is no connection. A dense layer is one with every tile.
    """

    explicit = False
    compute = "bfloat16"
    number = 8
    lanes = NEURONS
    values = ("bfloat16",)
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"row_ptr": POINTERS, "col": COLUMNS}

    def fit(self, connections: Connections) -> Parameters | str:
        """Any layer that reads float32."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections + tiles)."""
        grid = self.grid(connections.shape, parameters)
        rows, cols = connections.rows, connections.cols
        tiles, owner = np.unique(rows // NEURONS * grid.cols + cols // grid.w, return_inverse=True)
        values = np.zeros((tiles.size, grid.members), connections.values.dtype)
        values[owner, rows % NEURONS * grid.w + cols % grid.w] = connections.values
        index = compress(tiles, grid)
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Every number of a tile that is not zero is taken for a connection; what lies outside must be zero."""
        grid = self.grid(encoded.shape, encoded.parameters)
        tiles = expand(self.name, encoded.index, grid)
        ascending(self.name, tiles, grid.size)
        self.expect(encoded, tiles.size * grid.members)
        stored = np.flatnonzero(nonzero(encoded.values))
        tile, member = tiles[stored // grid.members], stored % grid.members
        rows = tile // grid.cols * NEURONS + member // grid.w
        cols = tile % grid.cols * grid.w + member % grid.w
        if bool((rows >= encoded.shape[0]).any()) or bool((cols >= encoded.shape[1]).any()):
            raise FormatError(
                f"layout {self.name}", expected="zeros outside of the matrix", got="other numbers"
            )
        positions = rows * encoded.shape[1] + cols
        order = np.argsort(positions, kind="stable")
        return Connections(encoded.shape, positions[order], encoded.values[stored[order]])

    def grid(self, shape: Shape, parameters: Parameters) -> Grid:
        """Tiles, the last ones filled up."""
        h, w = self.unit(parameters)
        return Grid(-(-shape[0] // h), -(-shape[1] // w), h, w)

    def unit(self, parameters: Parameters) -> Shape:
        """A tile."""
        return (NEURONS, INPUTS)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers and columns, of tiles."""
        return compressed(self.grid(shape, parameters))

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Tile by tile, each row by row."""
        width = self.unit(self.integers(shape)[1])[1]
        row, col = rows_and_columns(index, -(-shape[0] // NEURONS), make)
        member = make.arange(NEURONS * width)
        rows = row[:, None] * NEURONS + member // width
        return rows.reshape(-1), (col[:, None] * width + member % width).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Pointers, and columns of tiles that begin inside."""
        width = self.unit(self.integers(shape)[1])[1]
        return pointers_hold(index, make) and bool((make.wide(index[1]) * width < shape[1]).all())

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Row pointers and columns, of tiles."""
        rows, cols = index
        width = shape[2] if self.parameters else 0
        return (self.number, dtype, shape[0], shape[1], 1, 0, width, 0, values.shape[0], cols.shape[0],
                rows.itemsize, cols.itemsize, at(values), at(rows), at(cols))  # fmt: skip
