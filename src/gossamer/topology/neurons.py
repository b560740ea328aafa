"""The inputs of every neuron of a layer, one list a neuron: what topologies are compared by."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from gossamer.topology.topology import Topology


class Neurons(NamedTuple):
    """Compressed rows of a layer's connections, without their pattern.

    Args:
        starts: [neurons + 1], int64 - where the inputs of each neuron begin.
        inputs: [connections], int64 - ascending for each neuron.
        width: int - inputs of the layer.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> neurons = Neurons.of(Topology(Unstructured(), (2, 3), torch.tensor([0, 2, 4])))
        >>> neurons.starts.tolist(), neurons.inputs.tolist(), neurons.take(torch.tensor([1, 0])).inputs.tolist()
        ([0, 2, 3], [0, 2, 1], [1, 0, 2])
    """

    starts: Tensor
    inputs: Tensor
    width: int

    @classmethod
    def of(cls, topology: Topology) -> Self:
        """Of a topology; O(connections)."""
        grid, positions = topology.grid, topology.positions
        row = positions.div(grid.cols, rounding_mode="floor")
        col = positions - row * grid.cols
        rows = (row[:, None, None] * grid.h + torch.arange(grid.h)[:, None]).expand(-1, -1, grid.w)
        cols = (col[:, None, None] * grid.w + torch.arange(grid.w)).expand(-1, grid.h, -1)
        width = topology.shape[1]
        return cls._sorted((rows * width + cols).flatten(), topology.shape[0], width)

    @classmethod
    def _sorted(cls, places: Tensor, count: int, width: int) -> Self:
        """From ``neuron * width + input`` in any order."""
        places = places.sort().values
        starts = torch.searchsorted(places, torch.arange(count + 1) * width)
        return cls(starts, places % width, width)

    @property
    def number(self) -> int:
        """How many neurons."""
        return self.starts.numel() - 1

    @property
    def fan_in(self) -> Tensor:
        """[neurons], int64."""
        return self.starts.diff()

    def owners(self) -> Tensor:
        """[connections], int64: the neuron of each connection."""
        return torch.repeat_interleave(torch.arange(self.number), self.fan_in)

    def places(self) -> Tensor:
        """[connections], int64, ascending: ``neuron * width + input``."""
        return self.owners() * self.width + self.inputs

    def take(self, order: Tensor) -> Self:
        """The neurons in another order, or some of them."""
        fan_in = self.fan_in[order]
        starts = torch.cat([fan_in.new_zeros(1), fan_in.cumsum(0)])
        shift = torch.repeat_interleave(self.starts[order] - starts[:-1], fan_in)
        return type(self)(starts, self.inputs[torch.arange(shift.numel()) + shift], self.width)

    def part(self, first: int, after: int) -> Self:
        """Neurons ``first .. after - 1``."""
        starts = self.starts[first : after + 1]
        return type(self)(starts - starts[0], self.inputs[starts[0] : starts[-1]], self.width)

    def renumbered(self, place: Tensor) -> Self:
        """The same where input i has become input ``place[i]``."""
        return self._sorted(self.owners() * self.width + place[self.inputs], self.number, self.width)

    def by_input(self) -> Self:
        """The other way round: for every input, the neurons that read it."""
        return self._sorted(self.inputs * self.number + self.owners(), self.width, self.number)


def edit_distances(first: Neurons, second: Neurons) -> Tensor:
    """How much the inputs of neurons of the same number differ: the normalized edit distance of two sets.

    Args:
        first: Neurons.
        second: Neurons - of the same shape.
    Returns:
        [neurons], float64 in [0, 1] - inputs that one of the two has over inputs that any has; 0 where none has any.
    Cost: O(connections * log).
    Example:
        >>> a, b = (Neurons(torch.tensor([0, n]), torch.arange(n), 4) for n in (2, 3))
        >>> edit_distances(a, b).tolist()
        [0.3333333333333333]
    """
    both = torch.cat([first.places(), second.places()]).sort().values
    twice = both[1:][both[1:] == both[:-1]].div(first.width, rounding_mode="floor")
    shared = torch.bincount(twice, minlength=first.number)
    union = first.fan_in + second.fan_in - shared
    return torch.where(union > 0, (union - shared).double() / union.clamp(min=1), 0.0)
