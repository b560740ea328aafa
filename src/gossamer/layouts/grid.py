"""A layer seen in units of several connections, and back in single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections


class Grid(NamedTuple):
    """A layer seen in units: ``rows x cols`` units of ``h x w`` connections."""

    rows: int
    cols: int
    h: int
    w: int

    @property
    def size(self) -> int:
        """Number of units a dense layer would have."""
        return self.rows * self.cols

    @property
    def members(self) -> int:
        """Connections in one unit."""
        return self.h * self.w


def narrow(limit: int) -> str:
    """The narrowest index type that holds ``0 .. limit - 1``: uint16 up to 65,536, then int32, then int64."""
    if limit <= 1 << 16:
        return "uint16"
    return "int32" if limit <= 1 << 31 else "int64"


def singles(units: Array, values: Array, grid: Grid) -> tuple[Array, Array]:
    """Positions and values of single connections, ascending, from units of ``h x w``; copies.

    Example:
        >>> singles(np.array([1]), np.array([[5.0, 6.0]]), Grid(2, 2, 2, 1))
        (array([1, 3]), array([5., 6.]))
    """
    if grid.members == 1:
        return units.copy(), values.reshape(-1).copy()
    member = np.arange(grid.members)
    rows = (units // grid.cols * grid.h)[:, None] + member // grid.w
    cols = (units % grid.cols * grid.w)[:, None] + member % grid.w
    positions = (rows * (grid.cols * grid.w) + cols).reshape(-1)
    order = np.argsort(positions, kind="stable")
    return positions[order], values.reshape(-1)[order]


def group(connections: Connections, grid: Grid) -> tuple[Array, Array] | None:
    """Units and their values on a coarser grid, or None where a unit is there in part only.

    Returns:
        (positions [units], values [units, members]) in flat order, or None.
    """
    positions = connections.positions
    if grid.members == 1:
        return positions, connections.values.reshape(-1, 1)
    n_in = connections.shape[1]
    ends = np.searchsorted(positions, (positions[:1] // (n_in * grid.h) + 1) * n_in * grid.h)
    if _whole(positions[: ends.sum()], n_in, grid) is None:  # most layers say no in their first row of units
        return None
    found = _whole(positions, n_in, grid)
    if found is None:
        return None
    units, owner, member = found
    values = np.zeros((units.size, grid.members), connections.values.dtype)
    values[owner, member] = connections.values
    return units, values


def _whole(positions: Array, n_in: int, grid: Grid) -> tuple[Array, Array, Array] | None:
    """Units, and of each connection which of them it is in and where; None where a unit is there in part only."""
    rows, cols = positions // n_in, positions % n_in
    unit = rows // grid.h * grid.cols + cols // grid.w
    member = rows % grid.h * grid.w + cols % grid.w
    units, owner, counts = np.unique(unit, return_inverse=True, return_counts=True)
    return None if bool((counts != grid.members).any()) else (units, owner, member)
