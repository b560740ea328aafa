"""Sparse Evolutionary Training: drop the weakest of each sign, grow at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.rules.base import Rule, rules
from gossamer.rules.schedules import Constant, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import top_mask


@rules.register("set")
@dataclass(frozen=True, kw_only=True)
class SET(Rule):
    """Remove the share ``drop`` of the positive and of the negative weights closest to zero; add as many at random.

    The paper rewires once an epoch: set ``every`` to the steps of one. A weight of exactly zero counts as positive.

    Args:
        every, begin: see Rule.
        drop: float or Schedule - zeta; a float is constant, as in the paper.
        until: float - 1: no update after the last step.
        fresh: bool - new connections draw their values from the layer's initial law, as the published sparse code has
            it; False starts them at zero, as in the authors' mask version.
        strict: bool - compare strictly against both cut values, as the published code does, which removes about two
            connections more; False removes ``floor(drop * n)`` of each sign, exactly.
        spare_output: bool - the layer of the model's outputs stays as it is, as in the published code.
    Cost: O(connections) time and memory an update; random growth never looks at a dense layer.
    Source: Mocanu et al. 2018, algorithm 1; the options: Curci et al. 2021.
    Example:
        >>> SET(every=469).fraction(10**4, 10**5)
        0.3
    """

    until: float = 1.0
    fresh: bool = False
    strict: bool = False
    spare_output: bool = False

    def schedule(self) -> Schedule:
        """A float means a constant fraction."""
        return self.drop if isinstance(self.drop, Schedule) else Constant(float(self.drop))

    def draws_values(self) -> bool:
        """As asked for."""
        return self.fresh

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """Two separate cuts, so that signs stay balanced."""
        magnitude, negative = layer.magnitude(), layer.values.sum(1) < 0
        if self.spare_output and layer.is_output:
            return torch.ones_like(negative)
        if self.strict:
            return _outside(torch.where(negative, -magnitude, magnitude), fraction)
        kept = torch.zeros_like(negative)
        for side in (negative, ~negative):
            units = int(side.sum())
            kept[side] = top_mask(magnitude[side], units - int(fraction * units))
        return kept

    def grow(self, layer: LayerView, survivors: Tensor, want: Tensor) -> Tensor:
        """Uniform over the free positions; one just dropped may come back, and keeps its value unless ``fresh``."""
        return layer.pattern.grow_random(survivors, want, layer.topology.grid, layer.generator)


def _outside(values: Tensor, fraction: float) -> Tensor:
    """[n], bool: values beyond both cuts of the published code, which go themselves.

    In ascending order, ``first`` is the place of the first of those closest to zero, ``after`` the one past the last.
    """
    size, nearest = values.numel(), values.abs().min()
    below, above = bool((values == -nearest).any()), bool((values == nearest).any())
    first = int((values < (-nearest if below else nearest)).sum())
    after = int((values <= (nearest if above else -nearest)).sum())
    low = values.kthvalue(int((1 - fraction) * first) + 1).values
    high = values.kthvalue(min(size - 1, int(after + fraction * (size - after))) + 1).values
    return (values < low) | (values > high)
