"""Row and column of each connection, side by side: a layout for the reference kernels, in one file."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gossamer.layouts.arrays import Array
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Dims, Makes, Numbers, Parameters, Shape, Spec
from gossamer.layouts.ranges import ascending, within


@layouts.register("pairs")
class Pairs(Layout):
    """``row`` int32 [connections] and ``col`` int32 [connections]; always possible."""

    trains = True
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"row": ("int32",), "col": ("int32",)}

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """As they are."""
        index = self.index(connections.positions, connections.shape, parameters)
        return Encoded(self.name, connections.shape, parameters, connections.values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Ranges and order are checked."""
        units = self.units(encoded.index, encoded.shape, encoded.parameters)
        self.expect(encoded, units.size)
        positions = ascending(self.name, units, encoded.shape[0] * encoded.shape[1])
        return Connections(encoded.shape, positions, encoded.values)

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """Quotient and remainder."""
        return {"row": (units // shape[1]).astype(np.int32), "col": (units % shape[1]).astype(np.int32)}

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """The inverse."""
        within(self.name, "row", index["row"], shape[0])
        within(self.name, "column", index["col"], shape[1])
        return index["row"].astype(np.int64) * shape[1] + index["col"]

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Two vectors."""
        return {"row": ("int32", (-1,)), "col": ("int32", (-1,))}

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """They are the index."""
        return make.wide(index[0]), make.wide(index[1])
