"""Tiles of a matrix unit in bytes: sixteen neurons by 64 or 32 inputs of int8, wherever a connection lies."""

from __future__ import annotations

import numpy as np

from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Parameters, Shape
from gossamer.layouts.nm_bytes import MOST
from gossamer.layouts.tiles import NEURONS, Tiles

WIDTHS = (64, 32)
NARROWER = 0.55  # of the time of a wide tile: docs/decisions/0056-tiles-of-bytes.md


@layouts.register("tile_bytes")
class TileBytes(Tiles):
    """As tiles, with int8 values, of ``w`` inputs: 64, or 32 where blocks of 32 would fill wide tiles by halves.

    Made when it is to run: a file holds the connections, which do not say which zeros fill up a tile.
    """

    compute = "int8"
    number = 14
    values = ("int8",)
    parameters = ("w",)

    @property
    def exact(self) -> bool:
        """A file would hold the zeros of every tile."""
        return False

    def fit(self, connections: Connections) -> Parameters | str:
        """Int8 values; the width whose tiles take less time."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        if connections.shape[1] > MOST:
            return f"{connections.shape[1]} inputs, more than {MOST}"
        rows, cols = connections.rows // NEURONS, connections.cols
        wide, narrow = (np.unique(rows * (MOST + 1) + cols // width).size for width in WIDTHS)
        return {"w": WIDTHS[narrow * NARROWER < wide]}

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """A width of the two, and sums that fit 32 bits."""
        fits = parameters["w"] in WIDTHS and shape[1] <= MOST
        return "" if fits else f"tiles of 32 or 64 inputs, and at most {MOST} inputs"

    def unit(self, parameters: Parameters) -> Shape:
        """A tile."""
        return (NEURONS, parameters["w"])
