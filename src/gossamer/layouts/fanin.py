"""Constant fan-in: every active neuron, or group of neurons, reads the same number of inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import FormatError
from gossamer.layouts.base import Encoded, Layout, Parameters, Spec, layouts
from gossamer.layouts.connections import Connections, group
from gossamer.patterns import FanIn, Grid
from gossamer.patterns.base import narrow
from gossamer.patterns.sampling import free_positions
from gossamer.topology import Topology

PADDING = (
    0.25  # zeros that may be added, as a share of the connections, where a removed input left fan-ins uneven
)


@layouts.register("fanin")
class FanInLayout(Layout):
    """``rows`` [active] and ``col`` [active, k], in units of ``group`` neurons.

    Where dead inputs were removed fan-ins differ a little; short neurons are then filled up with connections
    of weight zero, which is exact, as long as that adds at most a quarter.
    """

    parameters = ("group",)

    def fit(self, connections: Connections) -> Parameters | str:
        """The largest group that all neurons follow, with fan-ins that agree or can be filled up."""
        if not connections.positions.numel():
            return "there is no connection"
        reason = ""
        for size in (8, 4, 2, 1):
            if connections.shape[0] % size:
                continue
            grid = FanIn(size).grid(connections.shape)
            units = group(connections, grid)
            if units is not None:
                fan_in = torch.bincount(units[0] // grid.cols, minlength=grid.rows)
                missing = int(fan_in.max()) * int(fan_in.count_nonzero()) - units[0].numel()
                if missing <= PADDING * units[0].numel():
                    return {"group": size}
                least = int(fan_in[fan_in > 0].min())
                reason = f"fan-ins from {least} to {int(fan_in.max())} would need {missing} zeros"
        return reason

    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """O(connections log connections)."""
        pattern = FanIn(**parameters)
        grid = pattern.grid(connections.shape)
        positions, values = _filled(*_units(connections, grid), grid)
        index = Topology(pattern, connections.shape, positions).index()
        return Encoded(self.name, connections.shape, parameters, values.reshape(-1), index)

    def restore(self, encoded: Encoded) -> Connections:
        """Through the pattern's own checks."""
        pattern = FanIn(**encoded.parameters)
        topology = Topology.from_index(pattern, encoded.shape, encoded.index)
        if not topology.connections:
            raise FormatError("layout fanin", expected="at least one connection", got="none")
        self.expect(encoded, topology.connections)
        positions, order = _singles(topology.positions, topology.grid).sort()
        return Connections(encoded.shape, positions, encoded.values[order], pattern=pattern)

    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Active rows and their columns."""
        grid = FanIn(**parameters).grid(shape)
        return {"rows": (narrow(grid.rows), (-1,)), "col": (narrow(grid.cols), (-1, -1))}


def _units(connections: Connections, grid: Grid) -> tuple[Tensor, Tensor]:
    units = group(connections, grid)
    if units is None:
        raise AssertionError("fit() said that the groups are whole")
    return units


def _filled(positions: Tensor, values: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Units and values with zeros added at free columns, so that all active rows have the same fan-in."""
    fan_in = torch.bincount(positions // grid.cols, minlength=grid.rows)
    want = torch.where(fan_in > 0, fan_in.max() - fan_in, 0)
    if not bool(want.any()):
        return positions, values
    rows = torch.repeat_interleave(torch.arange(grid.rows), want)
    rank = torch.arange(rows.numel()) - torch.repeat_interleave(want.cumsum(0) - want, want)
    added = free_positions(positions, rows, rank, grid.cols)
    merged, order = torch.cat([positions, added]).sort()
    return merged, torch.cat([values, values.new_zeros(added.numel(), grid.members)])[order]


def _singles(units: Tensor, grid: Grid) -> Tensor:
    """[units * members]: the position of each stored value on the layer's own matrix."""
    member = torch.arange(grid.h)
    rows = (units // grid.cols * grid.h).unsqueeze(1) + member
    return (rows * grid.cols + (units % grid.cols).unsqueeze(1)).view(-1)
