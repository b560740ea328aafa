"""Whole numbers of few values in few bits: how int8 values stand in a file."""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer.errors import FormatError
from gossamer.layouts.arrays import Array, aligned

BYTE: Final = 8


def fewest(codes: Array) -> int:
    """Bits of a value in a file: 1 for -1 and 1, 2 with 0, 4 up to 7 either way, else 8.

    Args:
        codes: [n], of any type; what is not int8 is not packed.

    Example:
        >>> [fewest(np.array(codes, np.int8)) for codes in ([-1, 1], [0, 1], [7, -7], [8])]
        [1, 2, 4, 8]
    """
    if codes.dtype != np.int8 or not codes.size:
        return BYTE
    most = max(-int(codes.min()), int(codes.max()))
    if most > 1:
        return 4 if most <= 7 else BYTE
    return 1 if bool((codes != 0).all()) else 2


def packed_bytes(number: int, bits: int) -> int:
    """Bytes that hold as many values: one says how many places at the end are empty, which are zeros."""
    return 1 - (-number * bits // BYTE)


def packed(codes: Array, bits: int) -> Array:
    """[bytes], uint8: how many places stay empty, then the lowest bits of each value, the first in the lowest bits.

    One bit is 1 for 1 and 0 for -1; two and four bits are two's complement.

    Example:
        >>> packed(np.array([1, -1, 1], np.int8), 1).tolist(), packed(np.array([-7, 2, 3], np.int8), 4).tolist()
        ([5, 5], [1, 41, 3])
    """
    fields = (codes > 0).astype(np.uint8) if bits == 1 else codes.view(np.uint8)
    each = (fields[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    empty = -codes.size % (BYTE // bits)
    return aligned(np.concatenate(([np.uint8(empty)], np.packbits(each.reshape(-1), bitorder="little"))))


def unpacked(held: Array, bits: int) -> Array:
    """[n], int8: the inverse; raises FormatError for bytes that ``packed`` does not write.

    Example:
        >>> unpacked(np.array([1, 41, 3], np.uint8), 4).tolist()
        [-7, 2, 3]
    """
    found, each = np.zeros(0, np.int8), BYTE // bits
    if (
        held.dtype == np.uint8
        and held.ndim == 1
        and held.size
        and held[0] <= min(each - 1, (held.size - 1) * each)
    ):
        number = (held.size - 1) * each - int(held[0])
        fields = np.unpackbits(held[1:], count=number * bits, bitorder="little").reshape(number, bits)
        codes = (fields << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.int16)
        signed = 2 * codes - 1 if bits == 1 else codes - ((codes >> (bits - 1)) << bits)
        found = aligned(signed.astype(np.int8))
    if not found.size or fewest(found) != bits or not np.array_equal(packed(found, bits), held):
        raise FormatError(
            "packed values",
            expected=f"values that need {bits} bits, and zeros behind the last",
            got=f"others, in {list(held.shape)} of {held.dtype}",
            hint="the file is damaged",
        )
    return found
