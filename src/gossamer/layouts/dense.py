"""All weights, zeros included: what everything else has to beat."""

from __future__ import annotations

import numpy as np

from gossamer.layouts.base import Encoded, Layout, Parameters, Shape, Spec, layouts
from gossamer.layouts.connections import Connections


@layouts.register("dense")
class Dense(Layout):
    """``values`` [out * in], row by row; always possible."""

    explicit = False

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(dense size)."""
        flat = np.zeros(connections.shape[0] * connections.shape[1], connections.values.dtype)
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
