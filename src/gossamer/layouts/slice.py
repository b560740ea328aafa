"""A dense matrix without the rows and columns that hold no connection."""

from __future__ import annotations

import numpy as np

from gossamer.errors import TopologyError
from gossamer.layouts.arrays import Array
from gossamer.layouts.base import Encoded, Layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.grid import narrow
from gossamer.layouts.kernel_side import Parameters, Shape, Spec


@layouts.register("slice")
class Slice(Layout):
    """``rows`` [a] and ``cols`` [b] in use, ``values`` [a * b]; the other neurons give their bias."""

    kernel = False
    explicit = False

    def fit(self, connections: Connections) -> Parameters | str:
        """Where something can be left out."""
        if not connections.positions.size:
            return "there is no connection"
        if bool((connections.fan_in() > 0).all()) and bool((connections.fan_out() > 0).all()):
            return "every neuron and every input is in use"
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(size of the slice)."""
        rows, cols = np.flatnonzero(connections.fan_in()), np.flatnonzero(connections.fan_out())
        values = np.zeros((rows.size, cols.size), connections.values.dtype)
        at = np.searchsorted(rows, connections.rows), np.searchsorted(cols, connections.cols)
        values[at] = connections.values
        n_out, n_in = connections.shape
        index = {"rows": rows.astype(narrow(n_out)), "cols": cols.astype(narrow(n_in))}
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Every number of the slice is taken for a connection."""
        rows = _ascending(encoded.index["rows"], encoded.shape[0], "rows")
        cols = _ascending(encoded.index["cols"], encoded.shape[1], "cols")
        self.expect(encoded, rows.size * cols.size)
        positions = (rows[:, None] * encoded.shape[1] + cols).reshape(-1)
        return Connections(encoded.shape, positions, encoded.values)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Rows and columns in use."""
        return {"rows": (narrow(shape[0]), (-1,)), "cols": (narrow(shape[1]), (-1,))}


def _ascending(array: Array, limit: int, name: str) -> Array:
    """As int64, once it is known to ascend below the limit."""
    wide = array.astype(np.int64)
    inside = wide.size == 0 or (int(wide[0]) >= 0 and int(wide[-1]) < limit)
    if not inside or not bool((np.diff(wide) > 0).all()):
        raise TopologyError("layout slice", expected=f"ascending {name} below {limit}", got="others")
    return wide
