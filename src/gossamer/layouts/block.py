"""Whole blocks of connections, block-row-compressed."""

from __future__ import annotations

import torch

from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections, group, singles
from gossamer.patterns import Block
from gossamer.patterns.base import narrow
from gossamer.topology import Topology

SQUARES = (32, 16, 8, 4)  # sides looked for in layers that were not trained under Block


@layouts.register("block")
class BlockLayout(Layout):
    """``row_ptr`` [out / h + 1] and ``col`` [blocks], in units of ``h x w`` connections."""

    parameters = ("h", "w")

    def fit(self, connections: Connections) -> Parameters | str:
        """The block the layer was trained under, or the largest square one that all connections come in."""
        trained = connections.pattern
        if not connections.positions.numel() and not isinstance(trained, Block):
            return "there is no connection"
        tried = (trained,) if isinstance(trained, Block) else tuple(Block(side) for side in SQUARES)
        for pattern in tried:
            divides = not (connections.shape[0] % pattern.h or connections.shape[1] % pattern.w)
            if divides and group(connections, pattern.grid(connections.shape)) is not None:
                return {"h": pattern.h, "w": pattern.w}
        return f"connections do not come in whole blocks of {' or '.join(f'{p.h} x {p.w}' for p in tried)}"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        pattern = Block(**parameters)
        units = group(connections, pattern.grid(connections.shape))
        if units is None:
            raise AssertionError("fit() said that the blocks are whole")
        positions, values = units
        index = Topology(pattern, connections.shape, positions).index()
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Through the pattern's own checks."""
        pattern = Block(**encoded.parameters)
        topology = Topology.from_index(pattern, encoded.shape, encoded.index)
        self.expect(encoded, topology.connections)
        values = encoded.values.view(-1, topology.grid.members)
        positions, flat = singles(topology.positions, values, topology.grid)
        return Connections(encoded.shape, positions, flat, pattern=pattern)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Row pointers and columns, of blocks."""
        grid = Block(**parameters).grid(shape)
        return {"row_ptr": (torch.int32, (grid.rows + 1,)), "col": (narrow(grid.cols), (-1,))}
