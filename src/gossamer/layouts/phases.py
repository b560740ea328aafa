"""Images taken apart by a stride: how its phases are numbered, for planes in memory and for sampling alike."""

from __future__ import annotations

from typing import Any

from gossamer.layouts.geometry import Pair


def phase_of(y: Any, x: Any, phases: Pair) -> Any:
    """The phase that a pixel belongs to: row by row, as its place in the first window of the stride.

    Args:
        y: int, or an array of them - the pixel's row.
        x: int, or an array of them - its column.
        phases: (down, along) - the stride.

    Example:
        >>> phase_of(3, 4, (2, 2)), phase_of(-1, 0, (2, 3))
        (2, 3)
    """
    down, along = phases
    return y % down * along + x % along


def first_pixel(phase: Any, phases: Pair) -> tuple[Any, Any]:
    """(row, column) of the first pixel of a phase; the others lie a stride apart.

    Args:
        phase: int, or an array or tensor of them.
        phases: (down, along) - the stride.

    Example:
        >>> [first_pixel(phase, (2, 2)) for phase in range(4)]
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    along = phases[1]
    return phase // along, phase % along
