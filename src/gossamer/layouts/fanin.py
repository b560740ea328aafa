"""Constant fan-in: every active neuron, or group of neurons, reads the same number of inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gossamer.errors import FormatError, ShapeError, TopologyError
from gossamer.layouts.arrays import Array, remainders
from gossamer.layouts.base import Encoded, Index, Layout, layouts
from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.csr import RATES
from gossamer.layouts.grid import Grid, group, narrow
from gossamer.layouts.kernel_side import (
    COLUMNS,
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
from gossamer.layouts.ranges import DAMAGED, ascending, within

GROUPS = (32, 16, 8, 4, 2, 1)
# Zeros that may be added, as a share of the connections, where a removed input left fan-ins uneven.
PADDING = 0.25
FOUR = Rates(
    "fanin:4",
    linear=(0.201, 0.315, 0.445, 1.7, 6.98),
    linear_grad_input=(0.346, 0.385, 0.485, 1.89, 7.46),
    linear_grad_values=(0.704, 0.721, 0.972, 3.31, 13.2),
    move=(0.571, 0.53),
)
EIGHT = Rates(
    "fanin:8",
    linear=(0.106, 0.297, 0.491, 2.02, 8.1),
    linear_grad_input=(0.319, 0.366, 0.601, 2.4, 9.81),
    linear_grad_values=(0.681, 0.704, 1.22, 4.56, 17.9),
    move=(0.601, 0.541),
)


@layouts.register("fanin")
class FanInLayout(Layout):
    """``rows`` [active] and ``col`` [active, k], in units of ``group`` neurons.

    Where dead inputs were removed fan-ins differ a little; short neurons are then filled up with connections
    of weight zero, which is exact, as long as that adds at most a quarter.
    """

    convolves = True
    number = 1
    trains = True
    parameters = ("group",)
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {"rows": COLUMNS, "col": COLUMNS}
    rates: ClassVar[tuple[Rates, ...]] = (FOUR, EIGHT)
    groups: ClassVar[tuple[int, ...]] = GROUPS

    def fit(self, connections: Connections) -> Parameters | str:
        """The largest group that all neurons follow, with fan-ins that agree or can be filled up."""
        if not connections.positions.size:
            return "there is no connection"
        reason = ""
        for size in self.groups:
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
        index = self.index(positions, connections.shape, parameters)
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Rows, columns and their order are checked."""
        grid = self.grid(encoded.shape, encoded.parameters)
        units = self.units(encoded.index, encoded.shape, encoded.parameters)
        ascending(self.name, units, grid.size)
        if not units.size:
            raise FormatError("layout fanin", expected="at least one connection", got="none")
        self.expect(encoded, units.size * grid.members)
        positions = _singles(units, grid)
        order = np.argsort(positions, kind="stable")
        trained = Trained(self.name, encoded.parameters)
        return Connections(encoded.shape, positions[order], encoded.values[order], trained=trained)

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """``rows`` [active] and ``col`` [active, k]."""
        grid = self.grid(shape, parameters)
        fan_in = np.diff(np.searchsorted(units, np.arange(grid.rows + 1) * grid.cols))
        rows = np.flatnonzero(fan_in)
        least, most = int(fan_in[rows].min(initial=grid.cols)), int(fan_in.max())
        if rows.size and least != most:
            raise TopologyError(
                "layout fanin",
                expected="one fan-in for all active neurons",
                got=f"fan-ins from {least} to {most}",
            )
        col = remainders(units, grid.cols, narrow(grid.cols))
        return {"rows": rows.astype(narrow(grid.rows)), "col": col.reshape(rows.size, most)}

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """The inverse."""
        grid, rows, col = self.grid(shape, parameters), index["rows"].astype(np.int64), index["col"]
        if rows.ndim != 1 or col.ndim != 2 or col.shape[0] != rows.size:
            raise TopologyError(
                "layout fanin",
                expected="rows [active] and col [active, k]",
                got=f"{rows.shape} and {col.shape}",
                hint=DAMAGED,
            )
        within("fanin", "row", rows, grid.rows)
        within("fanin", "column", col, grid.cols)
        return (rows[:, None] * grid.cols + col).reshape(-1)

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
        fits = size in GROUPS and not shape[0] % size
        return "" if fits else "group 1, 2, 4, 8, 16 or 32 that divides n_out"

    def rated(self, parameters: Parameters) -> Rates:
        """By the size of a group; single neurons cost what compressed rows do, wide groups what eight do."""
        return RATES if parameters["group"] == 1 else EIGHT if parameters["group"] >= 8 else FOUR

    def misfit(self, index: Numbers, shape: Dims) -> str:
        """As many rows as there are lists of columns, and no more than the layer has."""
        (rows, cols), group = index, shape[2]
        if expected := super().misfit(index, shape):
            return expected
        if rows.shape[0] != cols.shape[0]:
            return "rows [n_active] and col [n_active, k]"
        if rows.shape[0] > shape[0] // group or cols.shape[1] > shape[1]:
            return f"at most {shape[0] // group} rows and {shape[1]} columns in each"
        return ""

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Active row by active row, the neurons of a group side by side."""
        (rows, cols), group = (make.wide(array) for array in index), shape[2]
        sizes = (*cols.shape, group)
        row = make.spread(rows[:, None, None] * group + make.arange(group), sizes)
        return row.reshape(-1), make.spread(cols[:, :, None], sizes).reshape(-1)

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """Active rows and their columns."""
        rows, cols = index
        active, k = cols.shape
        if rows.shape[0] != active:
            raise ShapeError("kernels.cpu", expected=f"cols [{rows.shape[0]}, k]", got=f"{tuple(cols.shape)}")
        return (1, dtype, shape[0], shape[1], shape[2], k, 0, active, values.shape[0], active * k, rows.itemsize,
                cols.itemsize, at(values), at(rows), at(cols))  # fmt: skip


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
