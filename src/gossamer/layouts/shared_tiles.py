"""Tiles of a matrix unit for neurons that read the same inputs: sixteen or thirty-two side by side, in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import nonzero
from gossamer.layouts.base import Encoded, layouts
from gossamer.layouts.fanin import FanInLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections
    from gossamer.layouts.kernel_side import Address, Dims, Fields, Makes, Numbers, Parameters

NEURONS, INPUTS = 16, 32


@layouts.register("shared_tiles")
class SharedTiles(FanInLayout):
    """``rows`` [active] and ``col`` [active, k] of groups; values [active, ceil(k / 32), group / 16, 16, 32].

    Filled up with zeros to whole tiles. Values are rounded to bfloat16, and so are inputs.
    """

    convolves = False
    compute = "bfloat16"
    number = 9
    trains = False
    values = ("bfloat16",)
    rates = ()
    groups = (2 * NEURONS, NEURONS)
    inputs: ClassVar[int] = INPUTS  # of a tile

    def fit(self, connections: Connections) -> Parameters | str:
        """As fanin, in groups of 16 or 32 neurons."""
        return super().fit(connections) or "neurons do not share their inputs by sixteen"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        plain = super().arrange(connections, parameters)
        k = plain.index["col"].shape[1]
        values = plain.values.reshape(-1, k, parameters["group"])
        full = np.zeros((values.shape[0], -(-k // self.inputs) * self.inputs, values.shape[2]), values.dtype)
        full[:, :k] = values
        tiles = full.reshape(values.shape[0], -1, self.inputs, parameters["group"] // NEURONS, NEURONS)
        flat = np.ascontiguousarray(tiles.transpose(0, 1, 3, 4, 2)).reshape(-1)
        return Encoded(self.name, plain.shape, parameters, flat, plain.index)

    def restore(self, encoded: Encoded) -> Connections:
        """Those of fanin, once what fills up the tiles is known to be zero."""
        (active, k), group = encoded.index["col"].shape, encoded.parameters["group"]
        self.expect(encoded, self.used([(active,), (active, k)], (*encoded.shape, group)))
        tiles = encoded.values.reshape(active, -1, group // NEURONS, NEURONS, self.inputs)
        values: Array = tiles.transpose(0, 1, 4, 2, 3).reshape(active, -1, group)
        if bool(nonzero(values[:, k:]).any()):
            raise FormatError(f"layout {self.name}", expected="zeros behind the inputs", got="other numbers")
        flat = np.ascontiguousarray(values[:, :k]).reshape(-1)
        return super().restore(Encoded("fanin", encoded.shape, encoded.parameters, flat, encoded.index))

    def wants(self, shape: tuple[int, int], parameters: Parameters) -> str:
        """Groups of 16 or 32."""
        fits = parameters["group"] in self.groups and not shape[0] % parameters["group"]
        return "" if fits else "a group of 16 or 32 that divides n_out"

    def used(self, sizes: Sequence[Sequence[int]], shape: Dims) -> int:
        """Whole tiles."""
        active, k = sizes[-1]
        return active * -(-k // self.inputs) * self.inputs * shape[2]

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Tile by tile, each row by row; what fills them up lies past the inputs."""
        (rows, cols), group = (make.wide(array) for array in index), shape[2]
        active, k = cols.shape
        step = make.arange(-(-k // self.inputs) * self.inputs).reshape(-1, 1, 1, self.inputs)
        at = make.arange(active)[:, None, None, None, None]
        row = rows[:, None, None, None, None] * group + make.arange(group).reshape(-1, NEURONS, 1)
        sizes = (active, step.shape[0], group // NEURONS, NEURONS, self.inputs)
        inside = step < k
        place = (at * k + step * inside).reshape(-1)
        found = cols.reshape(-1)[place].reshape(active, step.shape[0], 1, 1, self.inputs)
        column = found * inside + (shape[1] + step) * ~inside
        return make.spread(row, sizes).reshape(-1), make.spread(column, sizes).reshape(-1)

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Rows and columns themselves."""
        rows, cols = (make.wide(array) for array in index)
        return bool((rows < shape[0] // shape[2]).all() and (cols < shape[1]).all())

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """As fanin."""
        return (self.number, *super().fields(dtype, values, index, shape, at)[1:])
