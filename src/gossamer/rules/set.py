"""Sparse Evolutionary Training: drop the weakest of each sign, grow at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.rules.base import LayerView, Rule, rules
from gossamer.rules.schedules import Constant, Schedule
from gossamer.topology import top_mask


@rules.register("set")
@dataclass(frozen=True, kw_only=True)
class SET(Rule):
    """Remove the share ``drop`` of the positive and of the negative weights closest to zero; add as many at random.

    The paper rewires once an epoch: set ``every`` to the steps of one. A weight of exactly zero counts as positive. New
    connections start at zero, as in the authors' mask version. The published NumPy code compares strictly against both
    cut values and so removes about two connections too many; here the count is exact.

    Args:
        every, begin: see Rule.
        drop: float or Schedule - zeta; a float is constant, as in the paper.
        until: float - 1: no update after the last step.
    Cost: O(connections) time and memory an update; random growth never looks at a dense layer.
    Source: Mocanu et al. 2018, algorithm 1.
    Example:
        >>> SET(every=469).fraction(10**4, 10**5)
        0.3
    """

    until: float = 1.0

    def schedule(self) -> Schedule:
        """A float means a constant fraction."""
        return self.drop if isinstance(self.drop, Schedule) else Constant(float(self.drop))

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """Two separate cuts, so that signs stay balanced."""
        magnitude, negative = layer.magnitude(), layer.values.sum(1) < 0
        kept = torch.zeros_like(negative)
        for side in (negative, ~negative):
            units = int(side.sum())
            kept[side] = top_mask(magnitude[side], units - int(fraction * units))
        return kept

    def grow(self, layer: LayerView, survivors: Tensor, want: Tensor) -> Tensor:
        """Uniform over the free positions; one just dropped may come back and then keeps its value."""
        return layer.pattern.grow_random(survivors, want, layer.topology.grid, layer.generator)
