"""GraNet: gradual magnitude pruning, with growth by gradient at every update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns.base import merge, select
from gossamer.rules.base import is_number, rules
from gossamer.rules.gradual import Gradual
from gossamer.rules.rigl import gradient_of
from gossamer.rules.schedules import CosineDecay, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import top_mask


@rules.register("granet")
@dataclass(frozen=True, kw_only=True)
class GraNet(Gradual):
    """Gradual pruning with zero-cost neuroregeneration: every update prunes, then drops and grows as many by gradient.

    First the smallest weights of all layers together go, along the cubic from ``initial`` to ``drop``. Then every layer
    gives up the share ``regrow`` of what is left, the smallest again, and grows as many where the dense gradient is
    largest; one that is dropped and grown in the same update keeps its value. Start with the share ``1 - initial`` of
    the connections: all of them, or half of them with ``initial=0.5``.

    Deviations from the published code: counts are exact, so weights of equal size cannot make a layer dense again; the
    last update ends the course; no layer is exempt.

    Args:
        every, drop, begin, until, initial: see Gradual; published runs update every 1000 to 4000 steps, for the first
            third to two thirds of the training.
        scope: "global", as published, or "layer", which FanIn needs.
        regrow: float or Schedule - share that is dropped and grown; a float is the start of a cosine to 0.
    Cost: one dense-gradient product by tiles an update, O(connections) memory, of all layers at once.
    Source: Liu et al., NeurIPS 2021, "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration".
    Example:
        >>> rule = GraNet(every=10)
        >>> rule.fraction(740, 1000), round(rule.regrowth(375, 1000), 3)
        (0.9, 0.25)
    """

    scope: str = "global"
    regrow: float | Schedule = 0.5
    needs_gradient: ClassVar[bool] = True
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"scope": "layer", "initial": 0.5},)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.regrow, Schedule) or (is_number(self.regrow) and 0 <= self.regrow <= 1)):
            raise ConfigError("GraNet(regrow=)", expected="a share in [0, 1]", got=repr(self.regrow))

    def regrowth(self, step: int, total_steps: int) -> float:
        """Share that is dropped and grown at a step."""
        course = self.regrow if isinstance(self.regrow, Schedule) else CosineDecay(float(self.regrow))
        return course(step, self.begin, self.until * total_steps)

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """Prune, then exchange."""
        left = super().plan(layers, fraction)
        return {layer.name: self._exchanged(layer, left[layer.name]) for layer in layers}

    def _exchanged(self, layer: LayerView, left: Tensor) -> Tensor:
        """As many positions in every bucket as are left, the weakest in other places."""
        grid, pattern = layer.topology.grid, layer.pattern
        size = layer.magnitude()[torch.searchsorted(layer.positions, left)]
        share = self.regrowth(layer.step, layer.total_steps)
        survivors = select(left, top_mask(size, left.numel() - int(share * left.numel())))
        want = pattern.count(left, grid) - pattern.count(survivors, grid)
        return merge(survivors, gradient_of(layer).select(survivors, want, pattern.bucket(grid)))
