"""SciPy's matrices, checked before SciPy's compiled code believes their indices: one out of range ends the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gossamer.errors import ShapeError
from gossamer.measure.room import require_memory


def check_structure(table: Any) -> None:
    """Refuse a sparse table whose indices do not describe a table of its shape; anything else passes.

    Args:
        table: anything - a matrix or array of SciPy in any of its formats is looked at.

    Raises:
        ShapeError, which is a ValueError. MemoryShortage: more rows than memory.

    Cost: O(stored entries).

    Example:
        >>> from scipy.sparse import csr_array
        >>> table = csr_array(np.eye(3)); table.indices[1] = 7
        >>> check_structure(table)
        Traceback (most recent call last):
        ...
        gossamer.errors.ShapeError: table of csr format: expected column indices from 0 to 2, got 0 to 7
    """
    if not issparse(table):
        return
    if table.ndim != 2:
        raise ShapeError("sparse table", expected="a table of two dimensions", got=f"shape {table.shape}")
    # What a conversion to CSR allocates for the rows that the table says it has.
    require_memory(_named(table), 8 * (table.shape[0] + 1), "it claims more rows than fit")
    _CHECKS.get(table.format, lambda _table: None)(table)


def _compressed(table: Any) -> None:
    """CSR, CSC and BSR: pointers that never fall, and indices in range up to the last of them."""
    major, minor = table.shape if table.format != "csc" else table.shape[::-1]
    if table.format == "bsr":
        height, width = table.data.shape[1:]
        major, minor = major // height, minor // width
    pointers, indices = table.indptr, table.indices
    _whole(table, pointers, indices)
    fits = len(pointers) == major + 1 and pointers[0] == 0 and bool((pointers[1:] >= pointers[:-1]).all())
    stored = min(len(indices), len(table.data))
    if not fits or pointers[-1] > stored:
        expected = f"{major + 1} row pointers (columns in csc) that rise from 0 to at most {stored}"
        raise ShapeError(_named(table), expected=expected, got="others")
    _in_range(table, "column" if table.format != "csc" else "row", indices[: pointers[-1]], minor)


def _coordinates(table: Any) -> None:
    """COO: one row and one column for each entry."""
    _whole(table, *table.coords)
    lengths = {len(table.data), *map(len, table.coords)}
    if len(lengths) > 1:
        raise ShapeError(
            _named(table), expected="a row and a column for each entry", got=f"{lengths} of them"
        )
    for axis, places, size in zip(("row", "column"), table.coords, table.shape, strict=True):
        _in_range(table, axis, places, size)


def _lists(table: Any) -> None:
    """LIL: for each row as many columns as entries."""
    lengths = [list(map(len, part)) for part in (table.rows, table.data)]
    if lengths[0] != lengths[1] or len(lengths[0]) != table.shape[0]:
        raise ShapeError(_named(table), expected="a column for each entry of each row", got="others")
    places = np.array([place for row in table.rows for place in row] or [0])
    _whole(table, places)
    _in_range(table, "column", places if any(lengths[0]) else places[:0], table.shape[1])


def _keys(table: Any) -> None:
    """DOK: every key a row and a column."""
    places = np.array(list(table.keys()) or [(0, 0)])[: table.nnz]
    _whole(table, places)
    for axis, name in enumerate(("row", "column")):
        _in_range(table, name, places[:, axis], table.shape[axis])


def _diagonals(table: Any) -> None:
    """DIA: one row of data for each diagonal."""
    _whole(table, table.offsets)
    if table.data.ndim != 2 or len(table.offsets) != len(table.data):
        raise ShapeError(_named(table), expected="a row of data for each diagonal", got="others")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "csr": _compressed,
    "csc": _compressed,
    "bsr": _compressed,
    "coo": _coordinates,
    "lil": _lists,
    "dok": _keys,
    "dia": _diagonals,
}


def _named(table: Any) -> str:
    return f"table of {table.format} format"


def _whole(table: Any, *arrays: Any) -> None:
    """Refuse places that are no integers."""
    for array in arrays:
        if array.dtype.kind not in "iu":
            raise ShapeError(_named(table), expected="integer indices", got=str(array.dtype))


def _in_range(table: Any, axis: str, places: Any, size: int) -> None:
    """Refuse places outside of an axis."""
    if len(places) and not (places.min() >= 0 and places.max() < size):
        raise ShapeError(
            _named(table),
            expected=f"{axis} indices from 0 to {size - 1}",
            got=f"{places.min()} to {places.max()}",
        )
