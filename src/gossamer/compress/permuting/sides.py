"""One layer as the search of an order sees it: items in groups, and how much of their scores a pattern keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

LEAST = 256  # features at least of which a sample is drawn


class Side(ABC):
    """Items that share groups: outputs of a layer, or its input channels.

    Args:
        values: [items, features], float64 - what an item is worth, feature by feature; reordered in place.
        size: int - items of a group; group ``i`` holds items ``i * size`` and those behind it.
        slots: [n], int64 - items that the search may move, in its order.
    """

    def __init__(self, values: Tensor, size: int, slots: Tensor) -> None:
        self.values, self.size, self.slots = values, size, slots

    @abstractmethod
    def kept(self, items: Tensor) -> Tensor:
        """[..., size, features] to [...]: how much of a group is kept."""

    @abstractmethod
    def replaced(self, slot: int, others: Tensor) -> Tensor:
        """[others]: how much of the group of a slot is kept with the item of another slot in its place."""

    @abstractmethod
    def sampled(self, chosen: Tensor) -> Self:
        """The same of some features."""

    @property
    def groups(self) -> Tensor:
        """[n]: the group of every slot."""
        return self.slots // self.size

    def now(self) -> Tensor:
        """[n]: what is kept of the group of every slot."""
        return self.kept(self.values.view(-1, self.size, self.values.shape[1]))[self.groups]

    def members(self, slot: int) -> Tensor:
        """[size]: the items of the group of a slot."""
        return int(self.groups[slot]) * self.size + torch.arange(self.size)

    def gain(self, a: int, b: int) -> float:
        """What a swap of two slots adds to what is kept; 0 within a group."""
        first, second = self.members(a), self.members(b)
        if first[0] == second[0]:
            return 0.0
        before = torch.stack((first, second))
        after = before.clone()
        after[0][first == self.slots[a]] = self.slots[b]
        after[1][second == self.slots[b]] = self.slots[a]
        return float(self.kept(self.values[after]).sum() - self.kept(self.values[before]).sum())

    def swap(self, a: int, b: int) -> None:
        """Swap the items of two slots."""
        pair = self.slots[[a, b]]
        self.values[pair] = self.values[pair.flip(0)]


class Summed(Side):
    """Items of a group share their connections, so a feature counts as the sum over the group.

    Args:
        values, size, slots: see ``Side``.
        worth: how much is kept of the sums of a group.
    """

    def __init__(self, values: Tensor, size: int, slots: Tensor, worth: Top | Above) -> None:
        super().__init__(values, size, slots)
        self.worth = worth

    def kept(self, items: Tensor) -> Tensor:
        """How much of a group is kept."""
        return self.worth(items.sum(-2))

    def replaced(self, slot: int, others: Tensor) -> Tensor:
        """What is kept of the group of a slot with other items in its place."""
        rest = self.values[self.members(slot)].sum(0) - self.values[self.slots[slot]]
        return self.worth(rest + self.values[self.slots[others]])

    def sampled(self, chosen: Tensor) -> Self:
        """The same of some features."""
        share = chosen.numel() / self.values.shape[1]
        return type(self)(self.values[:, chosen].clone(), self.size, self.slots, self.worth.of(share))


class Top:
    """The largest sums of each group are kept.

    Args:
        count: int - how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, sums: Tensor) -> Tensor:
        """[..., features] to [...]."""
        return sums.topk(self.count, -1, sorted=False).values.sum(-1)

    def of(self, share: float) -> Top:
        """The same of a share of the features."""
        return Top(max(1, round(self.count * share)))


class Above:
    """Sums above a threshold count by how far they are above it: what is kept of a layer whose groups compete.

    Args:
        threshold: float - the least sum that is kept now.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, sums: Tensor) -> Tensor:
        """[..., features] to [...]."""
        return (sums - self.threshold).clamp(min=0).sum(-1)

    def of(self, _share: float) -> Above:
        """The same."""
        return self


class Each(Side):
    """Of every feature, ``n`` of the items of a group are kept: N:M.

    Args:
        values, size, slots: see ``Side``.
        n: int.
    """

    def __init__(self, values: Tensor, size: int, slots: Tensor, n: int) -> None:
        super().__init__(values, size, slots)
        self.n = n

    def kept(self, items: Tensor) -> Tensor:
        """How much of a group is kept."""
        return items.topk(self.n, -2, sorted=False).values.sum((-2, -1))

    def replaced(self, slot: int, others: Tensor) -> Tensor:
        """What is kept of the group of a slot with other items in its place."""
        members = self.members(slot)
        rest = self.values[members[members != self.slots[slot]]]
        if self.n > len(rest):  # all are kept, whoever comes
            return rest.sum() + self.values[self.slots[others]].sum(1)
        best = rest.topk(self.n, 0).values
        return best.sum() + (self.values[self.slots[others]] - best[-1]).clamp(min=0).sum(1)

    def sampled(self, chosen: Tensor) -> Self:
        """The same of some features."""
        return type(self)(self.values[:, chosen].clone(), self.size, self.slots, self.n)
