"""All weights, zeros included: what everything else has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gossamer.layouts.base import Encoded, Layout, layouts
from gossamer.layouts.connections import Connections, zeros
from gossamer.layouts.kernel_side import (
    Address,
    Dims,
    Fields,
    Makes,
    Numbers,
    Parameters,
    Shape,
    Spec,
)


@layouts.register("dense")
class Dense(Layout):
    """``values`` [out * in], row by row; always possible."""

    explicit = False
    convolves = True
    number = 4
    values = ("float32", "float64", "bfloat16", "int8")

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(dense size)."""
        flat = zeros(connections.shape, connections.values.dtype)
        flat[connections.positions] = connections.values
        return Encoded(self.name, connections.shape, parameters, flat, {})

    def restore(self, encoded: Encoded) -> Connections:
        """Every number is taken for a connection."""
        size = encoded.shape[0] * encoded.shape[1]
        self.expect(encoded, size)
        return Connections(encoded.shape, np.arange(size), encoded.values)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """No index."""
        return {}

    def used(self, sizes: Sequence[Sequence[int]], shape: Dims) -> int:
        """Every number of the matrix."""
        return shape[0] * shape[1]

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Row by row."""
        flat, width = make.arange(shape[0] * shape[1]), max(shape[1], 1)
        return flat // width, flat % width

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """No index."""
        return (4, dtype, shape[0], shape[1], 1, 0, 0, 0, values.shape[0], 0, 0, 0, at(values), 0, 0)
