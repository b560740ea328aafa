"""Rows of units, compressed: what csr and block have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import TopologyError
from gossamer.layouts.arrays import Array, remainders
from gossamer.layouts.grid import Grid, narrow
from gossamer.layouts.ranges import DAMAGED, within

if TYPE_CHECKING:
    from gossamer.layouts.base import Index
    from gossamer.layouts.kernel_side import Makes, Numbers, Spec


def compress(positions: Array, grid: Grid) -> Index:
    """``row_ptr`` [rows + 1] and ``col`` [units] of ascending positions on a grid.

    Example:
        >>> {name: array.tolist() for name, array in compress(np.array([1, 5]), Grid(2, 3, 1, 1)).items()}
        {'row_ptr': [0, 1, 2], 'col': [1, 2]}
    """
    row_ptr = np.searchsorted(positions, np.arange(grid.rows + 1) * grid.cols)
    pointers = np.int32 if positions.size < 1 << 31 else np.int64
    return {"row_ptr": row_ptr.astype(pointers), "col": remainders(positions, grid.cols, narrow(grid.cols))}


def expand(layout: str, index: Index, grid: Grid) -> Array:
    """The inverse, after checking pointers and columns, and not their order; raises TopologyError."""
    row_ptr, col = index["row_ptr"].astype(np.int64), index["col"]
    fits = row_ptr.shape == (grid.rows + 1,) and col.ndim == 1
    ends = (int(row_ptr[0]), int(row_ptr[-1])) if fits else None
    if ends != (0, col.size) or bool((np.diff(row_ptr) < 0).any()):
        raise TopologyError(
            f"layout {layout}",
            expected=f"{grid.rows + 1} ascending row pointers from 0 to {col.size}, and a vector of columns",
            got=f"shapes {row_ptr.shape} and {col.shape}{f' from {ends[0]} to {ends[1]}' if ends else ''}",
            hint=DAMAGED,
        )
    within(layout, "column", col, grid.cols)
    positions: Array = np.repeat(np.arange(grid.rows) * grid.cols, np.diff(row_ptr))
    positions += col
    return positions


def compressed(grid: Grid) -> Spec:
    """Row pointers and columns."""
    return {"row_ptr": ("int32", (grid.rows + 1,)), "col": (narrow(grid.cols), (-1,))}


def rows_and_columns(index: Numbers, rows: int, make: Makes) -> tuple[Any, Any]:
    """Row and column of every unit."""
    pointer, col = make.wide(index[0]), make.wide(index[1])
    row = make.repeat(make.arange(rows), pointer[1:] - pointer[:-1])
    return row, col[: row.shape[0]]


def pointers_hold(index: Numbers, make: Makes) -> bool:
    """Whether pointers ascend from 0 and end within the columns."""
    pointer = make.wide(index[0])
    backwards = bool((pointer[1:] < pointer[:-1]).any())
    return not backwards and int(pointer[0]) == 0 and int(pointer[-1]) <= index[1].shape[0]
