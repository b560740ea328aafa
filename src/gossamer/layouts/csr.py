"""Row-compressed: holds any topology."""

from __future__ import annotations

import torch

from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections
from gossamer.patterns import Unstructured
from gossamer.patterns.base import narrow
from gossamer.topology import Topology


@layouts.register("csr")
class Csr(Layout):
    """``row_ptr`` [out + 1] and ``col`` [connections]; always possible."""

    def fit(self, connections: Connections) -> Parameters | str:
        """Always."""
        return {}

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections)."""
        index = Topology(Unstructured(), connections.shape, connections.positions).index()
        return Encoded(self.name, connections.shape, parameters, connections.values.contiguous(), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Through the pattern's own checks."""
        topology = Topology.from_index(Unstructured(), encoded.shape, encoded.index)
        self.expect(encoded, topology.connections)
        return Connections(encoded.shape, topology.positions, encoded.values)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Row pointers and columns."""
        return {"row_ptr": (torch.int32, (shape[0] + 1,)), "col": (narrow(shape[1]), (-1,))}
