"""Row-compressed: holds any topology."""

from __future__ import annotations

import torch

from gossamer.layouts.base import Layout, Packed, Parameters, Spec, layouts
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

    def arrange(self, connections: Connections, parameters: Parameters) -> Packed:
        """O(connections)."""
        index = Topology(Unstructured(), connections.shape, connections.positions).index()
        return Packed(self.name, connections.shape, parameters, connections.values.contiguous(), index)

    def restore(self, packed: Packed) -> Connections:
        """Through the pattern's own checks."""
        topology = Topology.from_index(Unstructured(), packed.shape, packed.index)
        self.expect(packed, topology.connections)
        return Connections(packed.shape, topology.positions, packed.values)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Row pointers and columns."""
        return {"row_ptr": (torch.int32, (shape[0] + 1,)), "col": (narrow(shape[1]), (-1,))}
