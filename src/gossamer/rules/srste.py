"""SR-STE: N:M masks that follow the dense weights at every step, with a pull on those that are masked out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.bounds import LARGEST_WEIGHT
from gossamer.errors import ConfigError
from gossamer.patterns import NM, Pattern
from gossamer.patterns.transposable import check_sides, transposable
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.strongest import Candidates
from gossamer.rules.through import Through
from gossamer.rules.view import LayerView

NOTED = 1000  # updates in ``engine.history``


@rules.register("srste")
@dataclass(frozen=True, kw_only=True)
class SRSTE(Through, Rule):
    """Sparse-refined straight-through estimator: the largest weights count, all get their gradient, the rest decays.

    Every ``every`` steps the mask is taken anew from the absolute weights of all positions. The forward pass uses
    ``mask * W``, the gradient of that product goes to all of W, and ``lam * (1 - mask) * W`` is added to it, which
    pulls what is masked out towards zero: then masks flip less. ``engine.flip_rates()`` says how much they do, at a
    thousand updates at most.

    Absent weights begin at zero, which suits a pruned network. From scratch take ``fresh=True``: they begin with values
    drawn from those that exist, and the first mask is chosen among all.

    Defined on every pattern; published for N:M.

    Args:
        every: int - steps between two masks; 1 as published.
        begin: int - first step (inclusive) with a new mask.
        until: float in (0, 1] - share of the training steps after which the mask stays (exclusive). The pull goes on.
        drop: not used: the pattern and the layer's budget say how many stay.
        lam: float >= 0 - of the pull; 2e-4 as published. 0 is the plain straight-through estimator.
        fresh: bool - absent weights begin with values.
        transposable: bool - 2:4 masks that are 2:4 along the outputs, too, as fast products with the transpose need;
            published with ``every=40``.
    Cost: that of a dense layer, and three copies of its weight a step.
    Source: Zhou et al., ICLR 2021, "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", equation
        9; transposable: Hubara et al. 2021, and Hu et al., ICML 2024, by all 90 masks of a tile.
    Example:
        >>> SRSTE().due(1, 100), SRSTE(until=0.5).due(50, 100)
        (True, False)
    """

    every: int = 1
    until: float = 1.0
    lam: float = 2e-4
    fresh: bool = False
    transposable: bool = False
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"fresh": True},)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.lam) and 0 <= self.lam <= LARGEST_WEIGHT):
            raise ConfigError("SRSTE", expected=f"lam from 0 to {LARGEST_WEIGHT:g}", got=repr(self.lam))

    def undefined_on(self, pattern: Pattern) -> str:
        """Transposable masks are 2:4."""
        if not self.transposable or pattern == NM(2, 4):
            return ""
        return f"transposable masks are 2:4, {pattern} is not: use NM(2, 4), or transposable=False"

    def noted(self, step: int, total_steps: int) -> bool:
        """A thousand updates of a training at most, however many there are."""
        return step // self.every % -(-total_steps // (NOTED * self.every)) == 0

    def check(self, pattern: Pattern, shape: tuple[int, int] | None = None) -> None:
        """Also a number of outputs that transposable masks cannot have."""
        super().check(pattern, shape)
        if self.transposable and shape is not None:
            check_sides(shape)

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """The weights of all positions."""
        state = super().new_state(layer)
        units = layer.positions.numel()
        if self.fresh and units:
            absent = torch.ones(layer.topology.grid.size, dtype=torch.bool)
            absent[layer.positions] = False
            drawn = torch.randint(units, (int(absent.sum()),), generator=layer.generator)
            state["whole"][absent] = layer.values[drawn]
        return state

    def before_whole_step(self, layer: LayerView, gradients: Tensor) -> Tensor:
        """With the pull on what is absent."""
        pulled: Tensor = gradients + self.lam * layer.state["whole"]
        pulled[layer.positions] = gradients[layer.positions]
        return pulled

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """The largest of all weights, as many as before."""
        grid, scores = layer.topology.grid, self.sizes(layer, layer.state["whole"])
        if self.transposable:
            best: Tensor = transposable(scores.view(grid.rows, grid.cols)).flatten()
            chosen: Tensor = best.nonzero().squeeze(1)
            return chosen
        units = layer.positions.numel()
        return Candidates(layer.name, layer.topology, torch.arange(grid.size), scores).best(units)
