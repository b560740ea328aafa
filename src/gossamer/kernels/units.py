"""Units of processors beyond the instruction sets: which layouts are made for one, and whether it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Unit(NamedTuple):
    """A unit in words, and the question whether this processor has it."""

    name: str
    here: Callable[[], bool]


UNITS: Final[
    dict[str, Unit]
] = {}  # layout -> the unit that its kernels use; without it they give the same bits


def lacking(layout: str) -> str:
    """The unit that the kernels of a layout are made for and this processor lacks, in words, or "".

    Args:
        layout: str.

    Cost: O(1).

    Example:
        >>> lacking("csr")
        ''
    """
    unit = UNITS.get(layout)
    return "" if unit is None or unit.here() else unit.name
