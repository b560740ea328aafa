"""Movement pruning: connections stay whose weights move away from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.bounds import LARGEST_WEIGHT
from gossamer.errors import ConfigError
from gossamer.patterns import Pattern, Unstructured
from gossamer.patterns.base import select
from gossamer.rules.base import is_number, rules
from gossamer.rules.gradual import Gradual
from gossamer.rules.schedules import CubicDecay
from gossamer.rules.strongest import Candidates, stay, strongest
from gossamer.rules.through import Through
from gossamer.rules.view import LayerView
from gossamer.topology import Topology, top_mask

FLOOR = 0.005  # share of a layer that soft movement pruning leaves at least


@rules.register("movement")
@dataclass(frozen=True, kw_only=True)
class MovementPruning(Through, Gradual):
    """Movement pruning: every connection has a score that grows while its weight moves away from zero.

    The layer computes with ``W * mask``. At every step the gradient of that product, G, which every position has,
    moves the scores, ``S -= rate * (G * W + penalty)``, summed over the members of a unit; they begin at 0. Weights
    train where the mask is; elsewhere they stay as they were, come back so, and neither momentum nor decay moves them.

    Hard: an update keeps the largest scores, along the cubic from ``initial`` to ``drop``; see GradualMagnitude for the
    counts. Soft: it keeps the scores whose sigmoid is above a threshold, which rises from 0 to ``tau`` along the same
    cubic, half a percent of a layer at least; the penalty ``lam * mean(sigmoid(S))``, times the threshold over ``tau``,
    pulls scores down, and so decides how many stay.

    Start from a trained network in masked layers with all connections, ``sparsify(..., density=1.0, init="keep",
    full="sparse", home="masked")``; ``gossamer.pack`` makes packed layers of the result.

    Deviations from the published code: scores follow the plain gradient, as in the paper, and no Adam; masks change
    every ``every`` steps, not at each.

    Args:
        every, begin, until, drop, initial: see Gradual; ``drop`` and ``initial`` are read where ``soft`` is False.
        scope: "layer", or "global" for hard pruning by the scores of all layers.
        rate: float > 0 - learning rate of the scores. It changes nothing in hard pruning.
        soft: bool - by a threshold.
        tau: float in (0, 1) - threshold at the end; read where ``soft`` is True.
        lam: float >= 0 - of the penalty; read where ``soft`` is True. 400 as published.
    Cost: that of a dense layer; a copy of its weight and the scores.
    Source: Sanh, Wolf and Rush, NeurIPS 2020, "Movement Pruning: Adaptive Sparsity by Fine-Tuning".
    Example:
        >>> MovementPruning(drop=0.85).fraction(740, 1000)
        0.85
    """

    every: int = 10
    rate: float = 1e-2
    soft: bool = False
    tau: float = 0.1
    lam: float = 0.0
    trained: ClassVar[bool] = False
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"until": 0.9},)

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = is_number(self.rate) and is_number(self.tau) and is_number(self.lam)
        if not (
            numbers
            and 0 < self.rate <= LARGEST_WEIGHT
            and 0 < self.tau < 1
            and 0 <= self.lam <= LARGEST_WEIGHT
        ):
            raise ConfigError(
                "MovementPruning",
                expected="rate above 0, tau in (0, 1) and lam from 0",
                got=f"rate={self.rate!r}, tau={self.tau!r}, lam={self.lam!r}",
            )
        if self.soft and self.scope != "layer":
            raise ConfigError(
                "MovementPruning(soft=True)",
                expected="scope='layer': one threshold is global already",
                got=self.scope,
            )

    def undefined_on(self, pattern: Pattern) -> str:
        """A threshold leaves any number of units."""
        if self.soft and not isinstance(pattern, Unstructured):
            return f"{pattern} fixes how many connections neurons have: use soft=False, Unstructured() or Block(h, w)"
        return super().undefined_on(pattern)

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """A threshold has no share that could be gone before."""
        return super().idle(total_steps, () if self.soft else topologies)

    def threshold(self, step: int, total_steps: int) -> float:
        """Of the sigmoid of a score at a step."""
        return CubicDecay(0.0, self.tau)(step, self.begin, self.last(total_steps))

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """All weights, and scores."""
        state = super().new_state(layer)
        return state | {"scores": state["whole"].new_zeros(layer.topology.grid.size)}

    def before_whole_step(self, layer: LayerView, gradients: Tensor) -> Tensor:
        """Moves the scores; the weights' gradients stay."""
        scores = layer.state["scores"]
        change = (gradients * layer.state["whole"]).sum(1)
        if self.soft:
            size = torch.sigmoid(scores)
            share = self.threshold(layer.step, layer.total_steps) / self.tau
            change = change + share * self.lam * size * (1 - size) / size.numel()
        layer.state["scores"] = scores - self.rate * change
        return gradients

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """The largest scores, or those above the threshold."""
        found = [self.candidates(layer) for layer in layers]
        if not self.soft:
            return strongest(found, fraction, self.scope)
        return {one.name: self._above(layer, one) for layer, one in zip(layers, found, strict=True)}

    def candidates(self, layer: LayerView) -> Candidates:
        """Positions that exist, or have a weight with which they went."""
        weight = self.sizes(layer, layer.state["whole"]) > 0
        weight[layer.positions] = True
        self.sizes(layer, layer.state["scores"].unsqueeze(1))
        positions = weight.nonzero().squeeze(1)
        return Candidates(layer.name, layer.topology, positions, layer.state["scores"][positions])

    def _above(self, layer: LayerView, found: Candidates) -> Tensor:
        """Positions whose score is above the threshold, within the layer's room."""
        size = torch.sigmoid(found.scores)
        many = int((size > self.threshold(layer.step, layer.total_steps)).sum())
        least = stay(layer.topology.grid.size, 1 - FLOOR)
        return select(found.positions, top_mask(size, min(max(many, least), layer.capacity, size.numel())))

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """Also the scores."""
        scores, whole = state.get("scores"), state.get("whole")
        if reason := super().wrong_in(state):
            return reason
        if isinstance(scores, Tensor) and isinstance(whole, Tensor) and scores.shape == whole.shape[:1]:
            return "" if bool(scores.isfinite().all()) else "scores that are not finite"
        return "no score for each weight"
