"""N:M in bytes with places of four bits: int8 values for inputs that are rounded to int8, four tiles side by side."""

from __future__ import annotations

import numpy as np

from gossamer.layouts.arrays import name_of
from gossamer.layouts.base import layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.kernel_side import Parameters, Shape
from gossamer.layouts.nm_bytes import MOST, per_neuron
from gossamer.layouts.nm_nibbles import NmNibbles


@layouts.register("nm_nibble_bytes")
class NmNibbleBytes(NmNibbles):
    """``offset`` [ceil(out / 16), ceil(ceil(in / m / 4) * n / 2), 16, 4]: a byte for each of four tiles of a neuron.

    Padded with zeros to whole blocks of neurons and four tiles. Int8 values only; inputs are rounded when read.
    """

    number = 13
    values = ("int8",)
    compute = "int8"
    up_to_batch = None
    side = 4

    def fit(self, connections: Connections) -> Parameters | str:
        """As nm; int8 values, tiles of up to 16 inputs."""
        if connections.values.dtype != np.int8:
            return f"{name_of(connections.values)} values instead of int8"
        fits = super().fit(connections)
        if isinstance(fits, dict) and per_neuron(connections.shape, fits) > MOST:
            return f"{per_neuron(connections.shape, fits)} connections a neuron, more than {MOST}"
        return fits

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """As nm_nibbles, with neurons of bounded size."""
        expected = super().wants(shape, parameters)
        return expected or ("" if per_neuron(shape, parameters) <= MOST else f"{MOST} connections a neuron")
