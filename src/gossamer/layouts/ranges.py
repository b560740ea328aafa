"""Indices that come from anywhere, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import TopologyError

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array

DAMAGED = "the file or the index tensors are damaged"


def within(layout: str, what: str, array: Array, limit: int) -> None:
    """Refuse an index outside ``0 .. limit - 1``; raises TopologyError that names the first one."""
    if array.size and (int(array.min()) < 0 or int(array.max()) >= limit):
        outside = array[(array < 0) | (array >= limit)]
        raise TopologyError(
            f"layout {layout}",
            expected=f"{what}s from 0 to {limit - 1}",
            got=f"{what} {int(outside[0])}",
            hint=DAMAGED,
        )


def ascending(layout: str, positions: Array, limit: int) -> Array:
    """The positions, once they are known to ascend; raises TopologyError."""
    if positions.size and not bool((np.diff(positions) > 0).all()):
        raise TopologyError(
            f"layout {layout}",
            expected=f"ascending positions below {limit}",
            got="repeated, unsorted or out-of-range ones",
            hint=DAMAGED,
        )
    return positions
