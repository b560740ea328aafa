"""What the index of a layout must be, on tensors and on arrays: checks that read sizes and types, not contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gossamer.errors import DtypeError, ShapeError
from gossamer.layouts.arrays import type_name

_COLUMNS: Final = ("uint16", "int32")
_POINTERS: Final = ("int32", "int64")
_OFFSETS: Final = ("uint8",)
MOST: Final = 2**31  # neurons or inputs, which the core counts in 31 bits

# layout: number of integers in shape, accepted dtypes of each index tensor
LAYOUTS: Final[dict[str, tuple[int, tuple[tuple[str, ...], ...]]]] = {
    "csr": (2, (_POINTERS, _COLUMNS)),
    "fanin": (3, (_COLUMNS, _COLUMNS)),
    "nm": (4, (_OFFSETS,)),
    "nm_lanes": (4, (_OFFSETS,)),
    "nm_bytes": (4, (_OFFSETS,)),
    "dense": (2, ()),
    "csr_bands": (3, (("int32",), ("uint8", "uint16"))),
    "block": (4, (_POINTERS, _COLUMNS)),
}


def dtype_name(array: Any) -> str:
    """``"float32"`` for a torch tensor or a NumPy array of that type."""
    return type_name(array.dtype)


def packed(array: Any) -> bool:
    """Whether the numbers of a tensor or an array lie one behind the other, where a kernel will look for them."""
    if hasattr(array, "is_contiguous"):
        return bool(array.is_contiguous())
    return bool(array.flags.c_contiguous and array.flags.aligned)


def used_values(operation: str, index: Sequence[Any], layout: str, shape: Sequence[int]) -> int:
    """Values that an index has places for.

    Args:
        operation: str - named in errors.
        index: integer tensors or arrays of the layout, contiguous.
        layout: key of `LAYOUTS`.
        shape: the layout's integers.

    Raises:
        ShapeError: an unknown layout, integers out of range, or index tensors that do not fit them.
        DtypeError: index tensors of another type.

    Cost: O(1); contents are not read.

    Example:
        >>> import numpy as np
        >>> used_values("example", [np.array([0, 2], np.int32), np.array([1, 3], np.uint16)], "csr", [1, 4])
        2
    """
    if layout not in LAYOUTS:
        raise ShapeError(operation, expected=f"a layout of {', '.join(LAYOUTS)}", got=repr(layout))
    integers, dtypes = LAYOUTS[layout]
    if len(shape) != integers or len(index) != len(dtypes):
        expected = f"{len(dtypes)} index tensors and {integers} integers in shape for layout {layout!r}"
        raise ShapeError(operation, expected=expected, got=f"{len(index)} and {len(shape)}")
    for number in shape:
        if not isinstance(number, int) or not 0 <= number < MOST:
            raise ShapeError(operation, expected="integers from 0 to 2^31 - 1 in shape", got=f"{list(shape)}")
    for array, accepted in zip(index, dtypes, strict=True):
        if dtype_name(array) not in accepted:
            raise DtypeError(
                operation, expected=f"index of {' or '.join(accepted)}", got=f"{dtype_name(array)}"
            )
        if not packed(array):
            hint = "call .contiguous() once"
            raise ShapeError(
                operation, expected="contiguous index tensors", got="one with other strides", hint=hint
            )
    return _used(operation, index, layout, shape)


def _used(operation: str, index: Sequence[Any], layout: str, shape: Sequence[int]) -> int:
    n_out, n_in = shape[0], shape[1]
    if layout == "csr":
        return _row_compressed(operation, index, n_out)
    if layout == "block":
        h, w = shape[2], shape[3]
        if not (1 <= h <= 32 and 1 <= w <= 32) or n_out % h or n_in % w:
            expected = "sides from 1 to 32 that divide n_out and n_in"
            raise ShapeError(operation, expected=expected, got=f"{h} x {w}, {n_out} x {n_in}")
        return _row_compressed(operation, index, n_out // h) * h * w
    if layout == "fanin":
        return _fanin(operation, index, shape)
    if layout == "dense":
        return n_out * n_in
    if layout == "csr_bands":
        starts, cols, band = index[0], index[1], shape[2]
        if not 1 <= band <= 65536 or starts.shape != (-(-n_in // band) * n_out + 1,) or cols.ndim != 1:
            expected = "a band of 1 to 65536, starts [bands * n_out + 1] and col [nnz]"
            raise ShapeError(operation, expected=expected, got=f"band {band}, {_shapes(index)}")
        return int(cols.shape[0])
    return _tiles(operation, index, layout, shape)


def _row_compressed(operation: str, index: Sequence[Any], rows: int) -> int:
    """Columns stored, of csr and block."""
    if index[0].shape != (rows + 1,) or index[1].ndim != 1:
        raise ShapeError(operation, expected=f"row_ptr [{rows + 1}] and col [nnz]", got=f"{_shapes(index)}")
    return int(index[1].shape[0])


def _fanin(operation: str, index: Sequence[Any], shape: Sequence[int]) -> int:
    rows, cols, group = index[0], index[1], shape[2]
    if group not in {1, 2, 4, 8} or shape[0] % group:
        expected = "group 1, 2, 4 or 8 that divides n_out"
        raise ShapeError(operation, expected=expected, got=f"group {group}, n_out {shape[0]}")
    if rows.ndim != 1 or cols.ndim != 2 or rows.shape[0] != cols.shape[0]:
        raise ShapeError(operation, expected="rows [n_active] and col [n_active, k]", got=f"{_shapes(index)}")
    if rows.shape[0] > shape[0] // group or cols.shape[1] > shape[1]:
        expected = f"at most {shape[0] // group} rows and {shape[1]} columns in each"
        raise ShapeError(operation, expected=expected, got=f"{_shapes(index)}")
    return int(cols.shape[0] * cols.shape[1] * group)


def _tiles(operation: str, index: Sequence[Any], layout: str, shape: Sequence[int]) -> int:
    """N:M, in any order."""
    n_out, n_in, n, m = shape
    if not 1 <= n <= m <= 256 or n_in % m:
        expected = "1 <= n <= m <= 256 with m dividing n_in"
        raise ShapeError(operation, expected=expected, got=f"n {n}, m {m}, n_in {n_in}")
    tiles = n_in // m
    expected_shape: tuple[int, ...] = {
        "nm": (n_out, tiles, n),
        "nm_lanes": (-(-n_out // 8), tiles, n, 8),
        "nm_bytes": (-(-n_out // 16), -(-tiles // 2), n, 16, 2),
    }[layout]
    if index[0].shape != expected_shape:
        raise ShapeError(operation, expected=f"offset {list(expected_shape)}", got=f"{tuple(index[0].shape)}")
    used = 1
    for size in expected_shape:
        used *= size
    return used


def _shapes(index: Sequence[Any]) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in index]
