"""Row-compressed: holds any topology."""

from __future__ import annotations

from typing import Any, ClassVar

from gossamer.errors import ShapeError
from gossamer.layouts.arrays import Array
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.compressed import compress, compressed, expand, pointers_hold, rows_and_columns
from gossamer.layouts.connections import Connections
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

RATES = Rates(
    "csr",
    linear=(0.34, 0.566, 1.03, 2.97, 11.7),
    linear_grad_input=(0.93, 0.92, 1.45, 3.14, 9.37),
    linear_grad_values=(0.79, 0.797, 1.18, 3.31, 12.6),
    move=(0.84, 0.785),
)


@layouts.register("csr")
class Csr(Layout):
    """``row_ptr`` [out + 1] and ``col`` [connections]; always possible."""

    convolves = True
    number = 0
    trains = True
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"row_ptr": POINTERS, "col": COLUMNS}
    rates: ClassVar[tuple[Rates, ...]] = (RATES,)

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        index = self.index(connections.positions, connections.shape, parameters)
        return Encoded(self.name, connections.shape, parameters, connections.values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Pointers, columns and their order are checked."""
        n_out, n_in = encoded.shape
        units = self.units(encoded.index, encoded.shape, encoded.parameters)
        positions = ascending(self.name, units, n_out * n_in)
        self.expect(encoded, positions.size)
        return Connections(encoded.shape, positions, encoded.values)

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """Row pointers and columns."""
        return compress(units, self.grid(shape, parameters))

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """The inverse."""
        return expand(self.name, index, self.grid(shape, parameters))

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers and columns."""
        return compressed(self.grid(shape, parameters))

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Row by row."""
        return rows_and_columns(index, shape[0], make)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Pointers first."""
        return pointers_hold(index, make) and super().inside(index, shape, make)

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Row pointers and columns."""
        rows, cols = index
        if rows.shape[0] != shape[0] + 1:
            raise ShapeError("kernels.cpu", expected=f"row_ptr [{shape[0] + 1}]", got=f"{tuple(rows.shape)}")
        return (0, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0], cols.shape[0], rows.itemsize,
                cols.itemsize, at(values), at(rows), at(cols))  # fmt: skip
