"""Tiles of a matrix unit in bytes for neurons that read the same inputs: sixteen or thirty-two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import layouts
from gossamer.layouts.nm_bytes import MOST
from gossamer.layouts.shared_tiles import SharedTiles

if TYPE_CHECKING:
    from gossamer.layouts.connections import Connections
    from gossamer.layouts.kernel_side import Parameters


@layouts.register("shared_tile_bytes")
class SharedTileBytes(SharedTiles):
    """As shared_tiles, with int8 values in tiles of 64 inputs: [active, ceil(k / 64), group / 16, 16, 64].

    Made when it is to run: a file holds the connections that it is made from.
    """

    compute = "int8"
    number = 15
    values = ("int8",)
    inputs = 64

    @property
    def exact(self) -> bool:
        """A file would hold the zeros of every tile."""
        return False

    def fit(self, connections: Connections) -> Parameters | str:
        """As shared_tiles; int8 values."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        if connections.shape[1] > MOST:
            return f"{connections.shape[1]} inputs, more than {MOST}"
        return super().fit(connections)

    def wants(self, shape: tuple[int, int], parameters: Parameters) -> str:
        """Sums that fit 32 bits, as well."""
        expected = super().wants(shape, parameters)
        return expected or ("" if shape[1] <= MOST else f"at most {MOST} inputs")
