"""Operands as the structs of ``gossamer.h``: every field is 8 bytes, so a struct is one list of integers."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from gossamer.errors import DtypeError, ShapeError

ACTIVATIONS: Final = {None: 0, "relu": 1, "leaky_relu": 2}
MATRIX: Final = struct.Struct("17q")
PANEL: Final = struct.Struct("3q")
CALL: Final = struct.Struct("27qd6q")
LAYER: Final = struct.Struct("19qd")

# dtype of a table row -> gs_dtype of inputs and arithmetic, and of values where they are narrower
DTYPES: Final = {"float32": (0, 0), "float64": (1, 0), "float32-bfloat16": (0, 2), "float32-int8": (0, 3)}
NARROW: Final = ("bfloat16", "int8")

Address = Callable[[Any], int]
Fields = tuple[int, ...]


def address(array: Any) -> int:
    """Memory address of a torch tensor or a NumPy array."""
    return int(array.data_ptr() if hasattr(array, "data_ptr") else array.ctypes.data)


def dtype_name(array: Any) -> str:
    """``"float32"`` for a torch tensor or a NumPy array of that type."""
    return str(array.dtype).removeprefix("torch.")


def _csr(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    rows, cols = index
    if rows.shape[0] != shape[0] + 1:
        raise ShapeError("kernels.cpu", expected=f"row_ptr [{shape[0] + 1}]", got=f"{tuple(rows.shape)}")
    return (0, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0], cols.shape[0], rows.itemsize,
            cols.itemsize, at(values), at(rows), at(cols))  # fmt: skip


def _fanin(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    rows, cols = index
    active, k = cols.shape
    if rows.shape[0] != active:
        raise ShapeError("kernels.cpu", expected=f"cols [{rows.shape[0]}, k]", got=f"{tuple(cols.shape)}")
    return (1, dtype, shape[0], shape[1], shape[2], k, 0, active, values.shape[0], active * k, rows.itemsize,
            cols.itemsize, at(values), at(rows), at(cols))  # fmt: skip


def _nm(
    dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address, layout: int = 2
) -> Fields:
    (offset,) = index
    n_cols = math.prod(offset.shape)
    return (layout, dtype, shape[0], shape[1], 1, shape[2], shape[3], 0, values.shape[0], n_cols, 0,
            offset.itemsize, at(values), 0, at(offset))  # fmt: skip


def _nm_lanes(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    return _nm(dtype, values, index, shape, at, layout=3)


def _nm_bytes(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    return _nm(dtype, values, index, shape, at, layout=7)


def _dense(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    del index
    return (4, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0], 0, 0, 0, at(values), 0, 0)


def _csr_bands(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    starts, cols = index
    n_starts = -(-shape[1] // shape[2]) * shape[0] + 1
    if starts.shape[0] != n_starts:
        raise ShapeError("kernels.cpu", expected=f"starts [{n_starts}]", got=f"{tuple(starts.shape)}")
    return (6, dtype, shape[0], shape[1], 1, 0, shape[2], 0, values.shape[0], cols.shape[0], starts.itemsize,
            cols.itemsize, at(values), at(starts), at(cols))  # fmt: skip


def _block(dtype: int, values: Any, index: Sequence[Any], shape: Sequence[int], at: Address) -> Fields:
    rows, cols = index
    n_out, n_in, h, w = shape
    if rows.shape[0] != n_out // h + 1:
        raise ShapeError("kernels.cpu", expected=f"row_ptr [{n_out // h + 1}]", got=f"{tuple(rows.shape)}")
    return (5, dtype, n_out, n_in, h, 0, w, 0, values.shape[0], cols.shape[0], rows.itemsize, cols.itemsize,
            at(values), at(rows), at(cols))  # fmt: skip


FIELDS: Final = {
    "csr": _csr,
    "fanin": _fanin,
    "nm": _nm,
    "nm_lanes": _nm_lanes,
    "nm_bytes": _nm_bytes,
    "dense": _dense,
    "csr_bands": _csr_bands,
    "block": _block,
}


def computed(values: Any) -> str:
    """The dtype of the inputs that go with these values: narrow ones are multiplied in float32.

    Example:
        >>> import numpy as np
        >>> computed(np.zeros(1, np.int8)), computed(np.zeros(1, np.float64))
        ('float32', 'float64')
    """
    name = dtype_name(values)
    return "float32" if name in NARROW else name


def row_dtype(values: Any) -> str:
    """The dtype of the table rows that take these values, e.g. ``"float32"`` or ``"float32-int8"``."""
    name = dtype_name(values)
    return f"float32-{name}" if name in NARROW else name


def matrix(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int], scale: Any = None) -> Fields:
    """The fields of ``gs_matrix``.

    Args:
        values: [>= used], float32, float64, bfloat16 or int8, contiguous - a tensor or an array.
        index: the layout's integer tensors, contiguous.
        layout: key of `FIELDS`.
        shape: the layout's integers.
        scale: [n_out], float32: a connection of int8 values weighs ``scale[row]`` times its value; or None.

    Raises:
        DtypeError: values of another type.
        ShapeError: an unknown layout, or index tensors whose sizes differ.
    """
    if layout not in FIELDS:
        raise ShapeError("kernels.cpu", expected=f"a layout of {', '.join(FIELDS)}", got=repr(layout))
    name = row_dtype(values)
    if name not in DTYPES:
        raise DtypeError("kernels.cpu", expected="float32, float64, bfloat16 or int8 values", got=name)
    dtype, narrow = DTYPES[name]
    at_scale = 0 if scale is None else address(scale)
    return (*FIELDS[layout](dtype, values, index, shape, address), narrow, at_scale)
