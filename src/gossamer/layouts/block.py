"""Whole blocks of connections, block-row-compressed."""

from __future__ import annotations

from typing import Any, ClassVar

from gossamer.errors import ShapeError
from gossamer.layouts.arrays import Array
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.compressed import compress, compressed, expand, pointers_hold, rows_and_columns
from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.grid import group, singles
from gossamer.layouts.kernel_side import (
    COLUMNS,
    POINTERS,
    Address,
    Dims,
    Fields,
    Makes,
    Numbers,
    Parameters,
    Rates,
    Shape,
    Spec,
)
from gossamer.layouts.ranges import ascending

TALLEST, WIDEST = 32, 64  # sides of a block
SQUARES = (32, 16, 8, 4)  # sides looked for in layers that were not trained in blocks
SMALL = Rates(
    "block:4",
    linear=(0.144, 0.34, 0.473, 1.78, 7.5),
    linear_grad_input=(0.34, 0.343, 0.502, 2.01, 8.38),
    linear_grad_values=(1.06, 1.05, 1.39, 2.55, 10.7),
    move=(0.835, 0.866),
)
LARGE = Rates(
    "block:16",
    linear=(0.109, 0.398, 0.497, 1.78, 8.41),
    linear_grad_input=(0.391, 0.381, 0.533, 1.97, 9.25),
    linear_grad_values=(0.859, 0.859, 1.08, 2.45, 9.79),
    move=(0.304, 0.38),
)


@layouts.register("block")
class BlockLayout(Layout):
    """``row_ptr`` [out / h + 1] and ``col`` [blocks], in units of ``h x w`` connections."""

    convolves = True
    number = 5
    trains = True
    parameters = ("h", "w")
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"row_ptr": POINTERS, "col": COLUMNS}
    rates = (SMALL, LARGE)

    def fit(self, connections: Connections) -> Parameters | str:
        """The block the layer was trained in, or the largest square one that all connections come in."""
        trained = connections.trained
        own = trained is not None and trained.layout == self.name
        if not connections.positions.size and not own:
            return "there is no connection"
        squares = [{"h": side, "w": side} for side in SQUARES]
        tried = [trained.parameters] if trained is not None and own else squares
        for block in tried:
            divides = not self.wants(connections.shape, block)
            if divides and group(connections, self.grid(connections.shape, block)) is not None:
                return dict(block)
        sides = " or ".join(f"{block['h']} x {block['w']}" for block in tried)
        return f"connections do not come in whole blocks of {sides}"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        grid = self.grid(connections.shape, parameters)
        units = group(connections, grid)
        if units is None:
            raise AssertionError("fit() said that the blocks are whole")
        positions, values = units
        index = self.index(positions, connections.shape, parameters)
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Pointers, columns and their order are checked."""
        grid = self.grid(encoded.shape, encoded.parameters)
        units = self.units(encoded.index, encoded.shape, encoded.parameters)
        ascending(self.name, units, grid.size)
        self.expect(encoded, units.size * grid.members)
        positions, values = singles(units, encoded.values, grid)
        return Connections(encoded.shape, positions, values, trained=Trained(self.name, encoded.parameters))

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """Row pointers and columns."""
        return compress(units, self.grid(shape, parameters))

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """The inverse."""
        return expand(self.name, index, self.grid(shape, parameters))

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers and columns, of blocks."""
        return compressed(self.grid(shape, parameters))

    def unit(self, parameters: Parameters) -> Shape:
        """A block."""
        return (parameters["h"], parameters["w"])

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """Blocks of bounded size, and no connection outside of one."""
        h, w = self.unit(parameters)
        if 1 <= h <= TALLEST and 1 <= w <= WIDEST and not shape[0] % h and not shape[1] % w:
            return ""
        return f"h from 1 to {TALLEST} that divides n_out, w from 1 to {WIDEST} that divides n_in"

    def rated(self, parameters: Parameters) -> Rates:
        """By the size of a block."""
        return LARGE if parameters["h"] * parameters["w"] >= 64 else SMALL

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Block by block, each row by row."""
        n_out, _, h, w = shape
        row, col = rows_and_columns(index, n_out // h, make)
        member = make.arange(h * w)
        return (row[:, None] * h + member // w).reshape(-1), (col[:, None] * w + member % w).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Pointers first."""
        return pointers_hold(index, make) and super().inside(index, shape, make)

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Row pointers and columns, of blocks."""
        rows, cols = index
        n_out, n_in, h, w = shape
        if rows.shape[0] != n_out // h + 1:
            got = f"{tuple(rows.shape)}"
            raise ShapeError("kernels.cpu", expected=f"row_ptr [{n_out // h + 1}]", got=got)
        return (5, dtype, n_out, n_in, h, 0, w, 0, values.shape[0], cols.shape[0], rows.itemsize, cols.itemsize,
                at(values), at(rows), at(cols))  # fmt: skip
