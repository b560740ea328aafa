"""Constant fan-in in bytes: int8 values for inputs that are rounded to int8, with exact integer sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import Encoded, layouts
from gossamer.layouts.fanin import GROUPS, FanInLayout
from gossamer.layouts.nm_bytes import MOST

if TYPE_CHECKING:
    from gossamer.layouts.connections import Connections
    from gossamer.layouts.kernel_side import Address, Dims, Fields, Numbers, Parameters


@layouts.register("fanin_bytes")
class FanInBytes(FanInLayout):
    """``rows`` [active] and ``col`` [active, k] of groups, as fanin.

    Int8 values only. Inputs are rounded when read: each sample of a linear layer, each image of a convolution.
    """

    number = 17
    trains = False
    values = ("int8",)
    rates = ()
    compute = "int8"
    up_to_batch = 64  # products of bytes pay for images; of a linear layer they are plain loops

    def fit(self, connections: Connections) -> Parameters | str:
        """As fanin; int8 values."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        fits = super().fit(connections)
        if isinstance(fits, dict) and connections.shape[1] > MOST:
            return f"{connections.shape[1]} inputs, more than {MOST}"
        return fits

    def restore(self, encoded: Encoded) -> Connections:
        """As fanin."""
        plain = Encoded("fanin", encoded.shape, encoded.parameters, encoded.values, encoded.index)
        return super().restore(plain)

    def wants(self, shape: tuple[int, int], parameters: Parameters) -> str:
        """Whole groups, and sums that fit 32 bits."""
        size = parameters["group"]
        fits = size in GROUPS and not shape[0] % size and shape[1] <= MOST
        return "" if fits else f"group 1, 2, 4, 8, 16 or 32 that divides n_out, and up to {MOST} inputs"

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """As fanin."""
        return (self.number, *super().fields(dtype, values, index, shape, at)[1:])
