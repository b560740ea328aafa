"""MEST: drop what is small in weight and in gradient, grow at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from gossamer.bounds import LARGEST_WEIGHT
from gossamer.errors import ConfigError
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.view import LayerView
from gossamer.topology import top_mask


@rules.register("mest")
@dataclass(frozen=True, kw_only=True)
class MEST(Rule):
    """Memory-economic sparse training: the drop score is ``|w| + lam |g|`` of existing connections, growth is random.

    What the published method does and this does not: its soft-bounded variant, which grows before it drops and needs
    room for both; and it trains on a part of the data. A mutation that calms down is the cosine of ``drop``.

    Args:
        every, drop, begin, until: see Rule.
        lam: float >= 0 - weight of the gradient of the step just made, summed over the members of a unit as the weights
            are. The default is ours: on the scale of weights, gradients of a mean loss are small.
    Cost: O(connections) time and memory an update; it never looks at a dense layer.
    Source: Yuan et al., NeurIPS 2021, "MEST: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge".
    Example:
        >>> MEST(every=50, lam=0.1).due(50, 1000)
        True
    """

    lam: float = 1.0
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"lam": 10.0})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.lam) and 0 <= self.lam <= LARGEST_WEIGHT):
            raise ConfigError("MEST", expected=f"lam from 0 to {LARGEST_WEIGHT:g}", got=repr(self.lam))

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """[units], bool: the largest scores."""
        scores = layer.magnitude() + self.lam * layer.gradients.abs().sum(1)
        units = layer.positions.numel()
        return top_mask(scores, units - int(fraction * units))

    def grow(self, layer: LayerView, survivors: Tensor, want: Tensor) -> Tensor:
        """Uniform over the free positions; one just dropped may come back, and keeps its value."""
        return layer.pattern.grow_random(survivors, want, layer.topology.grid, layer.generator)
