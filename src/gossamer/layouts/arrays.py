"""Arrays of numbers by the names of their types; bfloat16, which NumPy has not, is a type of its own here."""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Bits of a bfloat16. NumPy moves, cuts and compares them, and refuses to calculate with them.
BFLOAT16: Final = np.dtype([("bfloat16", "<u2")])
_BITS: Final = str(BFLOAT16)
LINE: Final = 64  # bytes of a cache line, at which arrays that kernels read begin


def dtype_of(name: str) -> np.dtype[Any]:
    """The type of a name.

    Example:
        >>> dtype_of("uint16"), dtype_of("bfloat16") == BFLOAT16
        (dtype('uint16'), True)
    """
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def name_of(array: Any) -> str:
    """The name of the type of an array's or a tensor's numbers.

    Example:
        >>> name_of(np.zeros(1, np.int8)), name_of(np.zeros(1, BFLOAT16))
        ('int8', 'bfloat16')
    """
    name = str(array.dtype).removeprefix("torch.")
    return "bfloat16" if name == _BITS else name


def cast(array: Array, to: str) -> Array:
    """The numbers in another type, to the bit as torch has them; an array of that type itself is not copied.

    Args:
        array: of floats, or integers that a float holds.
        to: str - name of a float type.

    Returns:
        Array - rounded to the nearest, halves to even.

    Cost: O(numbers).

    Example:
        >>> cast(cast(np.array([1.00390625, -3.0], np.float32), "bfloat16"), "float64").tolist()
        [1.0, -3.0]
    """
    name = name_of(array)
    if name == to:
        return array
    if name == "bfloat16":
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        if to in ("bfloat16", "float16"):  # torch takes both from float32
            array = array.astype(np.float32, copy=False)
        return _bfloat16(array) if to == "bfloat16" else array.astype(to, copy=False)


def _bfloat16(array: Array) -> Array:
    bits = array.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    rounded = np.where(np.isnan(array), 0xFFFF, rounded)
    return rounded.astype(np.uint16).view(BFLOAT16)


def nonzero(array: Array) -> Array:
    """Boolean array: which numbers are not zero.

    Example:
        >>> nonzero(cast(np.array([0.0, -0.0, 2.0], np.float32), "bfloat16")).tolist()
        [False, False, True]
    """
    held = array.view(np.uint16) & np.uint16(0x7FFF) if array.dtype == BFLOAT16 else array
    different: Array = held != 0
    return different


def aligned(array: Array) -> Array:
    """The array itself if it is contiguous and begins with a cache line, as kernels like it, else a copy that does.

    Example:
        >>> aligned(np.arange(9)[1:]).ctypes.data % LINE
        0
    """
    if array.flags.c_contiguous and array.ctypes.data % LINE == 0:
        return array
    copy = unset(array.shape, array.dtype)
    copy[...] = array
    return copy


def unset(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array with nothing in it yet, that begins with a cache line."""
    size = np.dtype(dtype).itemsize * prod(shape)
    room = np.empty(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    made: Array = room[first : first + size].view(dtype).reshape(shape)
    return made


def remainders(positions: Array, divisor: int, dtype: str) -> Array:
    """Narrow remainders of int64 positions, without wide ones beside them.

    Example:
        >>> remainders(np.array([3, 70000]), 1 << 16, "uint16")
        array([   3, 4464], dtype=uint16)
    """
    found = unset(positions.shape, dtype)
    np.remainder(positions, divisor, out=found, casting="unsafe")
    return found
