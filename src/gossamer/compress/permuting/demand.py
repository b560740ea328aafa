"""What a pattern wants of the order of a layer's channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gossamer.compress.permuting.exchange import INPUTS, OUTPUTS
from gossamer.compress.permuting.sides import Above, Each, Side, Summed, Top
from gossamer.patterns import NM, Block, FanIn, Pattern

if TYPE_CHECKING:
    from gossamer.layouts.grid import Grid


def wants_order(pattern: Pattern) -> bool:
    """Whether it matters to a pattern which channels are neighbours.

    Example:
        >>> wants_order(FanIn(4)), wants_order(FanIn())
        (True, False)
    """
    if isinstance(pattern, FanIn):
        return pattern.group > 1
    return isinstance(pattern, NM) or (isinstance(pattern, Block) and pattern.unit != (1, 1))


@dataclass(frozen=True)
class Demand:
    """A layer that is to be pruned.

    Args:
        pattern: Pattern - in which the order matters.
        scores: [out, taps * channels], float64 - what each connection is worth, channels last; reordered as the
            layer is.
        channels: int - inputs of a linear layer, input channels of a convolution.
        units: int - how many units of the pattern stay.
    """

    pattern: Pattern
    scores: Tensor
    channels: int
    units: int

    @property
    def grid(self) -> Grid:
        """The layer in units."""
        return self.pattern.grid((self.scores.shape[0], self.scores.shape[1]))

    @property
    def dims(self) -> set[int]:
        """Sides whose order matters: outputs, inputs."""
        h, w = self.pattern.unit
        if isinstance(self.pattern, NM):
            return {INPUTS}
        return ({OUTPUTS} if h > 1 else set()) | ({INPUTS} if w > 1 else set())

    def kept(self) -> float:
        """How much of the scores the pattern keeps."""
        positions = self.pattern.project(self.scores, self.units, self.grid)
        return float(self.pattern.units(self.scores, self.grid)[positions].sum())

    def bound(self) -> float:
        """What no order can exceed: every neuron chooses by itself, or every connection where blocks compete."""
        count = self.units * self.grid.members
        if isinstance(self.pattern, Block):
            return float(self.scores.flatten().topk(count).values.sum())
        return float(self.scores.topk(count // self.scores.shape[0], 1).values.sum())

    def reordered(self, dim: int, order: Tensor) -> None:
        """Reorder outputs, or input channels."""
        if dim == OUTPUTS:
            self.scores.copy_(self.scores[order])
        else:
            self.scores.copy_(self._taps()[:, :, order].flatten(1))

    def side(self, dim: int, slots: Tensor) -> Side | None:
        """The layer as the search sees it from one side; None where the order of that side changes nothing.

        Args:
            dim: int - outputs or inputs.
            slots: [n], int64 - channels that may trade places.
        """
        h, w = self.pattern.unit
        size = h if dim == OUTPUTS else self.pattern.neighbours
        if dim not in self.dims or (dim == INPUTS and self.channels % size):
            return None
        if isinstance(self.pattern, NM):
            return Each(self._by_channel(), size, slots, self.pattern.n)
        return Summed(self._summed(dim, h, w), size, slots, self._worth())

    def _taps(self) -> Tensor:
        return self.scores.view(self.scores.shape[0], -1, self.channels)

    def _by_channel(self) -> Tensor:
        """[channels, out * taps]."""
        return self._taps().flatten(0, 1).T.clone(memory_format=torch.contiguous_format)

    def _summed(self, dim: int, h: int, w: int) -> Tensor:
        """[out or channels, features]: sums over the other side of a unit."""
        if dim == OUTPUTS:
            return self.scores.view(self.scores.shape[0], -1, w).sum(2)
        rows = self.scores.view(-1, h, self.scores.shape[1]).sum(1)
        return rows.view(-1, self.channels).T.clone(memory_format=torch.contiguous_format)

    def _worth(self) -> Top | Above:
        if isinstance(self.pattern, FanIn):
            return Top(self.units // self.grid.rows)
        sums = self.pattern.units(self.scores, self.grid).sum(1)
        return Above(float(sums.topk(self.units).values[-1]))


def demand(pattern: Pattern, matrix: Tensor, channels: int, density: float) -> Demand:
    """What a layer is asked for; raises PatternError, DensityError where it cannot have the pattern.

    Example:
        >>> row = torch.tensor([[8.0, 7, 6, 5, 1, 2, 3, 4]])
        >>> one = demand(NM(2, 4), row, 8, 0.5)
        >>> one.kept(), one.bound()
        (22.0, 26.0)
    """
    shape = (matrix.shape[0], matrix.shape[1])
    return Demand(pattern, matrix.double().clone(), channels, pattern.budget(density, shape))
