"""Row-compressed: holds any topology."""

from __future__ import annotations

from gossamer.layouts.base import Encoded, Layout, Parameters, Shape, Spec, layouts
from gossamer.layouts.compressed import compress, compressed, expand
from gossamer.layouts.connections import Connections


@layouts.register("csr")
class Csr(Layout):
    """``row_ptr`` [out + 1] and ``col`` [connections]; always possible."""

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        index = compress(connections.positions, self.grid(connections.shape, parameters))
        return Encoded(self.name, connections.shape, parameters, connections.values, index)

    def restore(self, encoded: Encoded) -> Connections:
        """Pointers, columns and their order are checked."""
        positions = expand(self.name, encoded.index, self.grid(encoded.shape, encoded.parameters))
        self.expect(encoded, positions.size)
        return Connections(encoded.shape, positions, encoded.values)

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers and columns."""
        return compressed(self.grid(shape, parameters))
