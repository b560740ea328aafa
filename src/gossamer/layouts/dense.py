"""All weights, zeros included: what everything else has to beat."""

from __future__ import annotations

import torch

from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
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
        flat = connections.values.new_zeros(connections.shape[0] * connections.shape[1])
        flat[connections.positions] = connections.values
        return Encoded(self.name, connections.shape, parameters, flat, {})

    def restore(self, encoded: Encoded) -> Connections:
        """Every number is taken for a connection."""
        size = encoded.shape[0] * encoded.shape[1]
        self.expect(encoded, size)
        return Connections(encoded.shape, torch.arange(size), encoded.values)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """No index."""
        return {}
