"""A topology update as an index map, and the one function that carries tensors through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gossamer.patterns.base import merge, select
from gossamer.topology.topology import Topology

PIECE = 1 << 15  # connections at once


@dataclass(frozen=True)
class Edit:
    """A change as long as it is only planned: many layers are, before the first of them is touched.

    Args:
        kept: [old units], bool - those that stay, with value and state.
        grown: [grown], int64 - ascending positions of the new ones.
    """

    kept: Tensor
    grown: Tensor

    def of(self, old: Topology) -> TopologyChange:
        """The change of the topology it was planned for.

        Cost: O(units + grown log units).
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> old = Topology(Unstructured(), (1, 4), torch.tensor([0, 2]))
            >>> change = Edit(torch.tensor([False, True]), torch.tensor([3])).of(old)
            >>> change.new.positions.tolist(), change.source.tolist()
            ([2, 3], [1, -1])
        """
        positions = merge(select(old.positions, self.kept), self.grown)
        stays = torch.ones(positions.numel(), dtype=torch.bool)
        stays[torch.searchsorted(positions, self.grown)] = False
        source = _unknown(positions.numel(), self.kept.numel())
        source.numpy()[stays.numpy()] = _places(self.kept, source.dtype).numpy()
        return TopologyChange(old, Topology(old.pattern, old.shape, positions), source)


@dataclass(frozen=True)
class TopologyChange:
    """Where every unit of the new topology comes from.

    Args:
        old: Topology.
        new: Topology - same pattern and shape.
        source: [new units], int32 (int64 for very many) - index of the unit in the old order, or -1 where it is grown.
    """

    old: Topology
    new: Topology
    source: Tensor

    @classmethod
    def between(cls, old: Topology, new: Topology) -> TopologyChange:
        """Match two topologies by position; a unit that is in both keeps its value and state.

        Cost: O(n log n) in units.
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> a = Topology(Unstructured(), (1, 4), torch.tensor([0, 2]))
            >>> TopologyChange.between(a, Topology(Unstructured(), (1, 4), torch.tensor([2, 3]))).source.tolist()
            [1, -1]
        """
        have, want = old.positions, new.positions
        source = _unknown(want.numel(), have.numel())
        for piece in _pieces(want.numel()) if have.numel() else ():
            nearest = torch.searchsorted(have, want[piece]).clamp_(max=have.numel() - 1)
            source[piece] = nearest.masked_fill_(have[nearest] != want[piece], -1)
        return cls(old, new, source)

    def forgetting(self, kept: Tensor) -> TopologyChange:
        """The same change where nothing comes back: a unit that was not kept and is grown again is a new one.

        Args:
            kept: [old units], bool - those that survived before anything was grown.
        Cost: O(units).
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> a = Topology(Unstructured(), (1, 4), torch.tensor([0, 2]))
            >>> TopologyChange.between(a, a).forgetting(torch.tensor([True, False])).source.tolist()
            [0, -1]
        """
        lost = (self.source >= 0) & ~kept[self.source.clamp(min=0).long()]
        return replace(self, source=self.source.masked_fill(lost, -1))

    def edit(self) -> Edit:
        """The same change without its topologies: a tenth of its memory.

        Cost: O(units).
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> a, b = (Topology(Unstructured(), (1, 4), torch.tensor(p)) for p in ([0, 2], [2, 3]))
            >>> edit = TopologyChange.between(a, b).edit(); edit.kept.tolist(), edit.grown.tolist()
            ([False, True], [3])
        """
        kept = torch.zeros(self.old.connections // self.old.grid.members, dtype=torch.bool)
        for piece in _pieces(self.source.numel()):
            here = self.source[piece].long()
            kept[here[here >= 0]] = True
        return Edit(kept, select(self.new.positions, self.source < 0))

    def part(self, units: Tensor) -> Topology:
        """Some units of the new topology ([new units], bool) by themselves."""
        return replace(self.new, positions=self.new.positions[units])

    @property
    def grown(self) -> int:
        """Connections that exist now and did not before."""
        return int((self.source < 0).count_nonzero()) * self.old.grid.members

    @property
    def dropped(self) -> int:
        """Connections that existed before and do not now."""
        return self.old.connections - (self.new.connections - self.grown)

    def remap_(self, flat: Tensor) -> None:
        """Carry a flat tensor of the layer's capacity to the new order, in place; grown and unused entries become zero.

        Args:
            flat: [capacity], any dtype - values, or optimizer state of that shape.
        Cost: O(connections) time and memory.
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> a, b = (Topology(Unstructured(), (1, 4), torch.tensor(p)) for p in ([0, 2], [2, 3]))
            >>> v = torch.tensor([5., 7.]); TopologyChange.between(a, b).remap_(v); v.tolist()
            [7.0, 0.0]
        """
        members = self.old.grid.members
        units = flat[: self.old.connections].view(-1, members)
        moved = units.new_zeros(self.source.numel(), members)
        for piece in _pieces(self.source.numel(), members):
            here = self.source[piece].long()
            stays = (here >= 0).nonzero().squeeze(1)
            moved[piece][stays] = units[here[stays]]
        flat.zero_()
        flat[: moved.numel()] = moved.view(-1)


def _pieces(units: int, members: int = 1) -> Iterator[slice]:
    """Units a few at a time: wide numbers of all of them would be the most memory that an update takes."""
    step = PIECE // members
    return (slice(begin, min(begin + step, units)) for begin in range(0, units, step))


def _unknown(units: int, old: int) -> Tensor:
    """[units]: -1 for each, in the narrowest signed integers that hold an index of ``old`` units."""
    return torch.full((units,), -1, dtype=torch.int32 if old <= 1 << 31 else torch.int64)


def _places(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Where a mask is True, ascending."""
    found, done = torch.empty(int(mask.count_nonzero()), dtype=dtype), 0
    for piece in _pieces(mask.numel()):
        here = mask[piece].nonzero().squeeze(1).add_(piece.start)
        found[done : done + here.numel()] = here
        done += here.numel()
    return found
