"""Constant fan-in: every active neuron, or group of neurons, reads the same number of inputs."""

from __future__ import annotations

import numpy as np

from gossamer.errors import FormatError, TopologyError
from gossamer.layouts.arrays import Array
from gossamer.layouts.base import Encoded, Index, Layout, Parameters, Shape, Spec, layouts
from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.grid import Grid, group, narrow
from gossamer.layouts.ranges import DAMAGED, ascending, within

GROUPS = (8, 4, 2, 1)
PADDING = (
    0.25  # zeros that may be added, as a share of the connections, where a removed input left fan-ins uneven
)


@layouts.register("fanin")
class FanInLayout(Layout):
    """``rows`` [active] and ``col`` [active, k], in units of ``group`` neurons.

    Where dead inputs were removed fan-ins differ a little; short neurons are then filled up with connections
    of weight zero, which is exact, as long as that adds at most a quarter.
    """

    parameters = ("group",)

    def fit(self, connections: Connections) -> Parameters | str:
        """The largest group that all neurons follow, with fan-ins that agree or can be filled up."""
        if not connections.positions.size:
            return "there is no connection"
        reason = ""
        for size in GROUPS:
            if connections.shape[0] % size:
                continue
            grid = self.grid(connections.shape, {"group": size})
            units = group(connections, grid)
            if units is not None:
                fan_in = np.bincount(units[0] // grid.cols, minlength=grid.rows)
                missing = int(fan_in.max()) * int(np.count_nonzero(fan_in)) - units[0].size
                if missing <= PADDING * units[0].size:
                    return {"group": size}
                least = int(fan_in[fan_in > 0].min())
                reason = f"fan-ins from {least} to {int(fan_in.max())} would need {missing} zeros"
        return reason

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        grid = self.grid(connections.shape, parameters)
        units = group(connections, grid)
        if units is None:
            raise AssertionError("fit() said that the groups are whole")
        positions, values = _filled(*units, grid)
        index = rectangle(positions, grid)
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Rows, columns and their order are checked."""
        grid = self.grid(encoded.shape, encoded.parameters)
        units = _positions(encoded.index, grid)
        if not units.size:
            raise FormatError("layout fanin", expected="at least one connection", got="none")
        self.expect(encoded, units.size * grid.members)
        positions = _singles(units, grid)
        order = np.argsort(positions, kind="stable")
        trained = Trained(self.name, encoded.parameters)
        return Connections(encoded.shape, positions[order], encoded.values[order], trained=trained)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Active rows and their columns."""
        grid = self.grid(shape, parameters)
        return {"rows": (narrow(grid.rows), (-1,)), "col": (narrow(grid.cols), (-1, -1))}

    def unit(self, parameters: Parameters) -> Shape:
        """A position that the neurons of a group share."""
        return (parameters["group"], 1)

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """Whole groups."""
        size = parameters["group"]
        return "" if size in GROUPS and not shape[0] % size else "group 1, 2, 4 or 8 that divides n_out"


def rectangle(positions: Array, grid: Grid) -> Index:
    """``rows`` [active] and ``col`` [active, k] of ascending positions; all active rows have as many."""
    rows = np.flatnonzero(np.bincount(positions // grid.cols, minlength=grid.rows))
    col = (positions % grid.cols).reshape(rows.size, -1) if rows.size else positions.reshape(0, 0)
    return {"rows": rows.astype(narrow(grid.rows)), "col": col.astype(narrow(grid.cols))}


def _positions(index: Index, grid: Grid) -> Array:
    """The inverse, after checking the index in full."""
    rows, col = index["rows"].astype(np.int64), index["col"].astype(np.int64)
    if rows.ndim != 1 or col.ndim != 2 or col.shape[0] != rows.size:
        raise TopologyError(
            "layout fanin",
            expected="rows [active] and col [active, k]",
            got=f"{rows.shape} and {col.shape}",
            hint=DAMAGED,
        )
    within("fanin", "row", rows, grid.rows)
    within("fanin", "column", col, grid.cols)
    return ascending("fanin", (rows[:, None] * grid.cols + col).reshape(-1), grid.size)


def _filled(positions: Array, values: Array, grid: Grid) -> tuple[Array, Array]:
    """Units and values with zeros added at the first free columns, so that all active rows have the same fan-in."""
    fan_in = np.bincount(positions // grid.cols, minlength=grid.rows)
    want = np.where(fan_in > 0, fan_in.max() - fan_in, 0)
    if not bool(want.any()):
        return positions, values
    rows = np.repeat(np.arange(grid.rows), want)
    rank = np.arange(rows.size) - np.repeat(want.cumsum() - want, want)
    begin = rows * grid.cols
    free = begin - np.searchsorted(positions, begin) + rank  # counted over the whole layer
    before = positions - np.arange(positions.size)  # free places in front of each taken one
    added = free + np.searchsorted(before, free, side="right")
    merged = np.concatenate([positions, added])
    order = np.argsort(merged, kind="stable")
    zeros = np.zeros((added.size, grid.members), values.dtype)
    return merged[order], np.concatenate([values, zeros])[order]


def _singles(units: Array, grid: Grid) -> Array:
    """[units * members]: the position of each stored value on the layer's own matrix."""
    rows = (units // grid.cols * grid.h)[:, None] + np.arange(grid.h)
    positions: Array = (rows * grid.cols + (units % grid.cols)[:, None]).reshape(-1)
    return positions
