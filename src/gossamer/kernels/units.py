"""Units of processors beyond the instruction sets: which layouts are made for one, and why it is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.kernels.cpu import library

if TYPE_CHECKING:
    from collections.abc import Callable

# layout -> why the unit that its kernels are made for is not used, "" where it is; without it they give the same bits
UNITS: Final[dict[str, Callable[[], str]]] = {
    "tiles": library.matrix_unit,
    "shared_tiles": library.matrix_unit,
    "tile_bytes": library.matrix_unit,
    "shared_tile_bytes": library.matrix_unit,
    "csr_halves": library.half_products,
}


def lacking(layout: str) -> str:
    """Why the unit that the kernels of a layout are made for is not used, in words, or "" where it is.

    Args:
        layout: str.

    Cost: O(1).

    Example:
        >>> lacking("csr")
        ''
    """
    return UNITS[layout]() if layout in UNITS else ""
