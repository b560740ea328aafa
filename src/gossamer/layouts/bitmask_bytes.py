"""A bit for each weight, and int8 values of those that are set, for inputs that are rounded to int8."""

from __future__ import annotations

import numpy as np

from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import layouts
from gossamer.layouts.bitmask import Bitmask
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Parameters, Shape
from gossamer.layouts.nm_bytes import MOST


@layouts.register("bitmask_bytes")
class BitmaskBytes(Bitmask):
    """The index of ``bitmask``. Int8 values only; inputs are rounded when read."""

    number = 16
    values = ("int8",)
    compute = "int8"
    densest = 0.9

    def fit(self, connections: Connections) -> Parameters | str:
        """Up to 2^17 inputs, so that sums of byte products fit 32 bits."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        if connections.shape[1] > MOST:
            return f"{connections.shape[1]} inputs, more than {MOST}"
        return super().fit(connections)

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """As bitmask, for rows of bounded size."""
        expected = super().wants(shape, parameters)
        return expected or ("" if shape[1] <= MOST else f"up to {MOST} inputs")
