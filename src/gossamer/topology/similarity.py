"""How alike two neurons are, for all pairs of two layers, piece by piece: never inputs times neurons at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.topology.neurons import Neurons

TABLE = 1 << 23  # float32 of inputs times some neurons of the second layer: 32 MiB
PAIRS = 1 << 18  # float64 scores at once, and a few temporaries of their size
# What settles equals is far below the smallest difference of two similarities, which are fractions of small integers.
SETTLE = 1e-10


class Side(NamedTuple):
    """One of two layers whose neurons are matched.

    Args:
        neurons: Neurons - as the other side counts inputs.
        number: [neurons], int64 - their numbers in the layer.
        colour: [levels, neurons], int64 - neurons that should rather be matched share more of them, see ``colours``.
    """

    neurons: Neurons
    number: Tensor
    colour: Tensor

    def take(self, order: Tensor) -> Self:
        """Some of the neurons."""
        return type(self)(self.neurons.take(order), self.number[order], self.colour[:, order])


def pieces(first: Side, second: Side) -> Iterator[tuple[slice, slice, Tensor]]:
    """Similarities of all pairs: shared inputs over inputs that any of the two has, 1 where neither has one.

    Among equals the pair of one colour comes first, then the one of one number, then a fixed arbitrary order.

    Args:
        first: Side.
        second: Side - with the same inputs.
    Yields:
        (neurons of the first, neurons of the second, [p, q] float64) - pieces in order, columns outermost.
    Cost: O(connections of the first * neurons of the second) additions, and O(neurons ** 2); about 200 MiB.
    Example:
        >>> one = Neurons(torch.tensor([0, 2]), torch.tensor([0, 1]), 3)
        >>> side = Side(one, torch.tensor([0]), torch.tensor([[0]]))
        >>> [(rows, cols, round(score.item(), 6)) for rows, cols, score in pieces(side, side)]
        [(slice(0, 1, None), slice(0, 1, None), 1.0)]
    """
    count = second.neurons.number
    across = min(max(1, TABLE // first.neurons.width), count)
    down = max(1, PAIRS // across)
    for c in range(0, count, across):
        cols = slice(c, min(c + across, count))
        part = second.neurons.part(cols.start, cols.stop)
        table = torch.zeros(first.neurons.width, part.number)
        table[part.inputs, part.owners()] = 1
        for r in range(0, first.neurons.number, down):
            rows = slice(r, min(r + down, first.neurons.number))
            own = first.neurons.part(rows.start, rows.stop)
            shared = F.embedding_bag(own.inputs, table, own.starts[:-1], mode="sum").double()
            union = (own.fan_in[:, None] + part.fan_in).double() - shared
            score = torch.where(union > 0, shared / union.clamp_(min=1), 1.0)
            yield rows, cols, score.add_(_settled(first, second, rows, cols))


def _settled(first: Side, second: Side, rows: slice, cols: slice) -> Tensor:
    """[p, q], float64 below ``SETTLE``: which of equal pairs comes first."""
    mine, theirs = first.number[rows, None], second.number[cols]
    mixed = (mine * 0x9E3779B1 + 1) * (theirs * 0x85EBCA77 + 1)
    mixed = (mixed ^ (mixed >> 29)) * 0xC2B2AE3D
    level = SETTLE / (len(first.colour) + 1)  # all else together weighs less than one colour
    order = ((mixed >> 20) & 0xFFFF).double().mul_(level / 2 / 0xFFFF)
    order += (mine == theirs).double().mul_(level / 2)
    for own, other in zip(first.colour, second.colour, strict=True):
        order += (own[rows, None] == other[cols]).double().mul_(level)
    return order
