"""Operands as the structs of ``gossamer.h``: every field is 8 bytes, so a struct is one list of integers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from gossamer.errors import DtypeError, ShapeError

LAYOUTS: Final = {"csr": 0, "fanin": 1, "nm": 2, "nm_lanes": 3, "dense": 4}
ACTIVATIONS: Final = {None: 0, "relu": 1}
MATRIX: Final = struct.Struct("15q")
PANEL: Final = struct.Struct("3q")
CALL: Final = struct.Struct("28q")
LAYER: Final = struct.Struct("17q")

_DTYPES = {"float32": 0, "float64": 1}


def address(array: Any) -> int:
    """Memory address of a torch tensor or a NumPy array."""
    if hasattr(array, "data_ptr"):
        return int(array.data_ptr())
    return int(array.ctypes.data)


def dtype_name(array: Any) -> str:
    """``"float32"`` for a torch tensor or a NumPy array of that type."""
    return str(array.dtype).removeprefix("torch.")


def matrix(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The fields of ``gs_matrix``.

    Args:
        values: [>= used] - float32 or float64, contiguous; a tensor or an array.
        index: the layout's integer tensors, contiguous.
        layout: key of `LAYOUTS`.
        shape: the layout's integers.

    Raises:
        DtypeError: values of another type.
        ShapeError: an unknown layout, or an index of another number of tensors or sizes.
    """
    n_out, n_in = shape[0], shape[1]
    dtype = _DTYPES.get(dtype_name(values))
    if dtype is None:
        raise DtypeError("kernels.cpu", expected="float32 or float64 values", got=dtype_name(values))
    n_values = values.shape[0]
    code = LAYOUTS.get(layout)
    if layout in {"csr", "fanin"}:
        rows, cols = index
        group, per_row, n_rows = 1, 0, 0
        if code == 1:
            group, n_rows, per_row = shape[2], rows.shape[0], cols.shape[1]
            _expect(cols.shape[0] == n_rows, f"cols of {n_rows} rows, one for each active row group", cols)
        else:
            _expect(rows.shape[0] == n_out + 1, f"row_ptr of {n_out + 1} elements", rows)
        n_cols = cols.shape[0] * per_row if code == 1 else cols.shape[0]
        return (code, dtype, n_out, n_in, group, per_row, 0, n_rows, n_values, n_cols, rows.itemsize, cols.itemsize,
                address(values), address(rows), address(cols))  # fmt: skip
    if layout in {"nm", "nm_lanes"}:
        (offset,) = index
        n, m = shape[2], shape[3]
        n_cols = offset.numel() if hasattr(offset, "numel") else offset.size
        return (code, dtype, n_out, n_in, 1, n, m, 0, n_values, n_cols, 0, offset.itemsize,
                address(values), 0, address(offset))  # fmt: skip
    if layout == "dense":
        return (code, dtype, n_out, n_in, 1, 0, 0, 0, n_values, 0, 0, 0, address(values), 0, 0)
    raise ShapeError("kernels.cpu", expected=f"a layout of {', '.join(LAYOUTS)}", got=repr(layout))


def _expect(holds: bool, expected: str, got: Any) -> None:
    if not holds:
        raise ShapeError("kernels.cpu", expected=expected, got=f"shape {tuple(got.shape)}")
