"""N:M: of every m inputs each neuron reads n, row by row."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from gossamer.errors import TopologyError
from gossamer.layouts.arrays import Array, remainders
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.kernel_side import (
    OFFSETS,
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
from gossamer.layouts.ranges import DAMAGED, ascending

LARGEST = 256  # inputs of a tile: a place in it takes one byte
ONE = Rates(
    "nm:1",
    linear=(0.49, 0.726, 0.888, 2.45, 9.83),
    linear_grad_input=(0.859, 0.997, 1.54, 3.73, 10.5),
    linear_grad_values=(0.844, 0.898, 1.08, 3.43, 12.0),
    move=(0.781, 0.857),
)
MORE = Rates(
    "nm:2",
    linear=(1.47, 1.74, 1.99, 3.2, 13.2),
    linear_grad_input=(2.09, 2.22, 2.61, 3.52, 10.2),
    linear_grad_values=(2.03, 2.14, 2.32, 3.92, 15.4),
    move=(1.68, 1.89),
)


@layouts.register("nm")
class NmLayout(Layout):
    """``offset`` [out, in / m, n], uint8; for layers trained in it whose tiles are still whole."""

    convolves: ClassVar[bool] = True
    number: ClassVar[int | None] = 2
    trains = True
    parameters = ("n", "m")
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"offset": OFFSETS}
    rates: ClassVar[tuple[Rates, ...]] = (ONE, MORE)

    def fit(self, connections: Connections) -> Parameters | str:
        """Where the layer was trained as N:M and every tile holds n."""
        trained, n_in = connections.trained, connections.shape[1]
        if trained is None or trained.layout != "nm":
            return "not trained under an N:M pattern"
        n, m = trained.parameters["n"], trained.parameters["m"]
        if n_in % m:
            return f"{n_in} inputs are no multiple of {m}"
        counts = np.bincount(connections.positions // m, minlength=connections.shape[0] * n_in // m)
        if bool((counts != n).any()):
            return f"tiles with {int(counts.min())} to {int(counts.max())} connections"
        return {"n": n, "m": m}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        index = self.index(connections.positions, connections.shape, parameters)
        return Encoded(self.name, connections.shape, parameters, connections.values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Offsets and their order are checked."""
        parameters, (n_out, n_in) = encoded.parameters, encoded.shape
        units = self.units(encoded.index, encoded.shape, parameters)
        positions = ascending("nm", units, n_out * n_in)
        self.expect(encoded, positions.size)
        return Connections(encoded.shape, positions, encoded.values, trained=Trained("nm", parameters))

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """``offset`` [rows, tiles, n]; every tile has n."""
        grid, n, m = self.grid(shape, parameters), parameters["n"], parameters["m"]
        if units.size != grid.size // m * n:
            expected = f"{grid.size // m * n} connections"
            raise TopologyError("layout nm", expected=expected, got=str(units.size))
        return {"offset": remainders(units, m, "uint8").reshape(grid.rows, grid.cols // m, n)}

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """The inverse."""
        grid, n, m = self.grid(shape, parameters), parameters["n"], parameters["m"]
        offset, tiles = index["offset"], grid.cols // m
        if offset.shape != (grid.rows, tiles, n) or int(offset.max()) >= m or int(offset.min()) < 0:
            raise TopologyError(
                "layout nm",
                expected=f"offsets below {m} of shape {(grid.rows, tiles, n)}",
                got=f"shape {offset.shape}, largest {int(offset.max()) if offset.size else 0}",
                hint=DAMAGED,
            )
        tile = np.arange(0, grid.size, m).reshape(grid.rows, tiles, 1)
        return (tile + offset).reshape(-1)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Offsets within a tile."""
        grid = self.grid(shape, parameters)
        return {"offset": ("uint8", (grid.rows, grid.cols // parameters["m"], parameters["n"]))}

    def whole(self, parameters: Parameters) -> Shape:
        """A tile of inputs."""
        return (1, parameters["m"])

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """Whole tiles, and places in one that a byte holds."""
        n, m = parameters["n"], parameters["m"]
        fits = 1 <= n <= m <= LARGEST and not shape[1] % m
        return "" if fits else f"1 <= n <= m <= {LARGEST} with m dividing n_in"

    def rated(self, parameters: Parameters) -> Rates:
        """By what a tile holds."""
        return ONE if parameters["n"] == 1 else MORE

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Row by row, tile by tile."""
        (offset,), (n_out, n_in, _, m) = index, shape
        row = make.spread(make.arange(n_out)[:, None, None], offset.shape)
        tile = make.arange(n_in // m)[None, :, None]
        return row.reshape(-1), (tile * m + make.wide(offset)).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Offsets within their tiles: shapes say the rest, and padding weighs nothing."""
        return bool((index[0] < shape[3]).all())

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Offsets alone."""
        (offset,) = index
        return (self.number or 0, dtype, shape[0], shape[1], 1, shape[2], shape[3], 0, values.shape[0],
                math.prod(offset.shape), 0, offset.itemsize, at(values), 0, at(offset))  # fmt: skip
