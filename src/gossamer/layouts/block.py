"""Whole blocks of connections, block-row-compressed."""

from __future__ import annotations

from gossamer.layouts.base import Encoded, Layout, Parameters, Shape, Spec, layouts
from gossamer.layouts.compressed import compress, compressed, expand
from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.grid import group, singles

LARGEST = 32  # side of a block
SQUARES = (32, 16, 8, 4)  # sides looked for in layers that were not trained in blocks


@layouts.register("block")
class BlockLayout(Layout):
    """``row_ptr`` [out / h + 1] and ``col`` [blocks], in units of ``h x w`` connections."""

    parameters = ("h", "w")

    def fit(self, connections: Connections) -> Parameters | str:
        """The block the layer was trained in, or the largest square one that all connections come in."""
        trained = connections.trained
        own = trained is not None and trained.layout == self.name
        if not connections.positions.size and not own:
            return "there is no connection"
        squares = [{"h": side, "w": side} for side in SQUARES]
        tried = [trained.parameters] if trained is not None and own else squares
        for block in tried:
            divides = not self.wants(connections.shape, block)
            if divides and group(connections, self.grid(connections.shape, block)) is not None:
                return dict(block)
        sides = " or ".join(f"{block['h']} x {block['w']}" for block in tried)
        return f"connections do not come in whole blocks of {sides}"

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        grid = self.grid(connections.shape, parameters)
        units = group(connections, grid)
        if units is None:
            raise AssertionError("fit() said that the blocks are whole")
        positions, values = units
        return Encoded(
            self.name, connections.shape, parameters, values.reshape(-1), compress(positions, grid)
        )

    def restore(self, encoded: Encoded) -> Connections:
        """Pointers, columns and their order are checked."""
        grid = self.grid(encoded.shape, encoded.parameters)
        units = expand(self.name, encoded.index, grid)
        self.expect(encoded, units.size * grid.members)
        positions, values = singles(units, encoded.values, grid)
        return Connections(encoded.shape, positions, values, trained=Trained(self.name, encoded.parameters))

    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Row pointers and columns, of blocks."""
        return compressed(self.grid(shape, parameters))

    def unit(self, parameters: Parameters) -> Shape:
        """A block."""
        return (parameters["h"], parameters["w"])

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """Blocks of bounded size, and no connection outside of one."""
        h, w = self.unit(parameters)
        fits = 1 <= h <= LARGEST and 1 <= w <= LARGEST and not shape[0] % h and not shape[1] % w
        return "" if fits else f"sides from 1 to {LARGEST} that divide n_out and n_in"
