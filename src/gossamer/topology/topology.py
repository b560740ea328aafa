"""The connections of one layer at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ShapeError
from gossamer.measure import require_memory
from gossamer.patterns import Grid, Index, Pattern, Unstructured


@dataclass(frozen=True)
class Topology:
    """Integer positions of one layer and the pattern they obey; no values.

    Args:
        pattern: Pattern - which zeros are allowed.
        shape: (int, int) - out_features, in_features.
        positions: [units], int64 - ascending unit positions, ``row * cols + col``.
    Example:
        >>> from gossamer.patterns import FanIn
        >>> t = Topology(FanIn(), (2, 3), torch.tensor([0, 2, 3, 4]))
        >>> t.connections, t.density, t.fan_in().tolist(), t.fan_out().tolist()
        (4, 0.6666666666666666, [2, 2], [2, 1, 1])
    """

    pattern: Pattern
    shape: tuple[int, int]
    positions: Tensor

    @classmethod
    def from_index(cls, pattern: Pattern, shape: tuple[int, int], index: Index) -> Topology:
        """Decode narrow index tensors and check them in full; raises TopologyError."""
        grid = pattern.grid(shape)
        topology = cls(pattern, shape, pattern.decode(index, grid))
        pattern.validate(topology.positions, grid)
        return topology

    @classmethod
    def from_mask(cls, mask: Tensor) -> Topology:
        """Any connections, of a mask [out_features, in_features] whose nonzeros they are; raises ShapeError."""
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            raise ShapeError(
                "Topology.from_mask",
                expected="a mask [out_features, in_features], as a tensor",
                got=f"{tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__,
                hint="of an array: torch.from_numpy(mask)",
            )
        return cls(Unstructured(), (mask.shape[0], mask.shape[1]), mask.flatten().nonzero().squeeze(1))

    @property
    def grid(self) -> Grid:
        """The unit grid."""
        return self.pattern.grid(self.shape)

    @property
    def connections(self) -> int:
        """Stored connections, counted exactly."""
        return self.positions.numel() * self.grid.members

    @property
    def is_full(self) -> bool:
        """Whether every connection is there."""
        return self.connections == self.shape[0] * self.shape[1]

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.connections / (self.shape[0] * self.shape[1])

    def index(self) -> Index:
        """The narrow index tensors of the pattern's encoding."""
        return self.pattern.encode(self.positions, self.grid)

    def fan_in(self) -> Tensor:
        """[out_features], int64: inputs of each neuron; 0 for an ablated one."""
        grid = self.grid
        ends = torch.searchsorted(self.positions, torch.arange(grid.rows + 1) * grid.cols)
        return (ends.diff() * grid.w).repeat_interleave(grid.h)

    def fan_out(self) -> Tensor:
        """[in_features], int64: connections that leave each input."""
        grid = self.grid
        per_col = torch.bincount(self.positions % grid.cols, minlength=grid.cols) * grid.h
        return per_col.repeat_interleave(grid.w)

    def mask(self) -> Tensor:
        """[out_features, in_features], bool; dense, so for small layers and tests."""
        ones = torch.ones(self.connections)
        return self.pattern.unpack(ones, self.positions, self.grid).bool()


class IndexedTopology(Topology):
    """The same in its narrow form: positions are made anew at every look, and take no memory in between.

    Args:
        pattern, shape: see Topology.
        encoded: name -> narrow integers, on the CPU - the index; nobody writes to it.
        connections: int - how many it holds.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a = Topology(Unstructured(), (1, 4), torch.tensor([0, 2]))
        >>> IndexedTopology(a.pattern, a.shape, a.index(), 2).positions.tolist()
        [0, 2]
    """

    def __init__(self, pattern: Pattern, shape: tuple[int, int], encoded: Index, connections: int) -> None:
        vars(self).update(pattern=pattern, shape=shape, _encoded=encoded, _connections=connections)

    @property
    def positions(self) -> Tensor:
        """[units], int64; decoded now."""
        return self.pattern.decode(vars(self)["_encoded"], self.grid)

    @property
    def connections(self) -> int:
        """Stored connections."""
        return int(vars(self)["_connections"])


class FullTopology(Topology):
    """Every connection of a dense layer; positions are made at every look, and take no memory in between.

    Args:
        shape: (int, int) - out_features, in_features.
    Example:
        >>> full = FullTopology((2, 3))
        >>> full.connections, full.is_full, full.fan_in().tolist()
        (6, True, [3, 3])
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        vars(self).update(pattern=Unstructured(), shape=shape)

    @property
    def positions(self) -> Tensor:
        """[out_features * in_features], int64; made now. Raises MemoryShortage where there is no room for them."""
        require_memory(f"positions of a dense layer of {self.shape}", 8 * self.connections)
        return torch.arange(self.connections)

    @property
    def connections(self) -> int:
        """All of them."""
        return self.shape[0] * self.shape[1]
