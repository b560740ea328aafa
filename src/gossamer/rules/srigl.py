"""SRigL: RigL with a constant fan-in, and whole neurons that can be ablated."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns import FanIn, Pattern, Unstructured
from gossamer.patterns.base import merge
from gossamer.rules.base import is_number, rules
from gossamer.rules.rigl import RigL, gradient_of
from gossamer.rules.view import LayerView
from gossamer.topology import top_mask, top_mask_in_buckets


@rules.register("srigl")
@dataclass(frozen=True, kw_only=True)
class SRigL(RigL):
    """Structured RigL: neurons with few salient connections are ablated and the others share their budget.

    What the published code does and this does not: rank inactive positions into the survivors once neurons are ablated
    (here survivors are active positions of active neurons, and growth fills the rest), cut an overfull neuron
    arbitrarily (here the largest weights stay), ablate the output layer, only warn when a fan-in comes out wrong.

    Args:
        every, drop, begin, until: see RigL.
        gamma: float or None - a neuron with fewer salient connections than this is ablated. Below 1: a share of the
            sparse fan-in (0.3 for CNNs and MLPs, 0.95 for ViTs); from 1 on: a count; None or 0: no ablation.
    Cost: two passes over the dense gradient by tiles an update (one without ablation), O(connections) memory.
    Source: Lasby et al., ICLR 2024, section 3 and the authors' code.
    Example:
        >>> SRigL(gamma=0.3).threshold(sparse_fan_in=76)
        22
    """

    gamma: float | None = 0.3
    never: ClassVar[frozenset[str]] = frozenset({"ablate outputs"})
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"gamma": None}, {"gamma": 0.9})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma is not None and not (is_number(self.gamma) and 0 <= self.gamma < inf):
            raise ConfigError("SRigL", expected="a finite gamma >= 0 or None", got=repr(self.gamma))

    @property
    def count(self) -> str:  # type: ignore[override]
        """With ablation, budget moves to the neurons that stay."""
        return "moves" if self.gamma else "kept"

    def undefined_on(self, pattern: Pattern) -> str:
        """FanIn always; NM only without ablation; Unstructured and Block never."""
        if isinstance(pattern, Unstructured):
            return "SRigL keeps one fan-in for all neurons: use FanIn() or NM(n, m), or RigL"
        if self.gamma and not isinstance(pattern, FanIn):
            return f"{pattern} fixes every fan-in, so ablated neurons could give nothing: use gamma=0 (rule.gamma=0)"
        return ""

    def threshold(self, sparse_fan_in: int) -> int:
        """Salient connections a neuron needs to stay active."""
        gamma = self.gamma or 0.0
        return int(gamma) if gamma >= 1 else max(1, int(gamma * sparse_fan_in))

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """Ablate, then drop and grow to the fan-in that the remaining neurons can afford."""
        grid = layer.topology.grid
        if not self.gamma or layer.is_output or layer.capacity >= grid.size:
            return super().update(layer, fraction)
        units, magnitude = layer.positions.numel(), layer.magnitude()
        keep = min(units - int(fraction * units), int(magnitude.count_nonzero()))
        active = self._active(layer, magnitude, keep)
        fan_in = layer.capacity // int(active.sum())
        row = layer.positions // grid.cols
        survivors = self._survivors(layer.positions, row, magnitude, active, keep, fan_in)
        want = torch.where(active, fan_in, 0) - torch.bincount(survivors // grid.cols, minlength=grid.rows)
        return merge(survivors, gradient_of(layer).select(survivors, want, grid.cols))

    def _active(self, layer: LayerView, magnitude: Tensor, keep: int) -> Tensor:
        """[rows], bool: neurons with enough salient connections; decided afresh each time, so one can come back."""
        grid = layer.topology.grid
        largest_weights = layer.positions[top_mask(magnitude, keep)]
        nothing, grown = layer.positions[:0], torch.tensor([layer.positions.numel() - keep])
        largest_gradients = gradient_of(layer).select(nothing, grown, grid.size)  # active positions too
        salient = torch.unique(torch.cat([largest_weights, largest_gradients]))
        counts = torch.bincount(salient // grid.cols, minlength=grid.rows)
        least = layer.capacity // grid.cols  # rows below this could not hold the budget
        enough = min(
            self.threshold(layer.capacity // grid.rows), int(counts.sort(descending=True).values[least])
        )
        return counts >= enough

    @staticmethod
    def _survivors(
        positions: Tensor, row: Tensor, magnitude: Tensor, active: Tensor, keep: int, fan_in: int
    ) -> Tensor:
        """The largest weights of active neurons, at most ``fan_in`` in each."""
        allowed = active[row].nonzero().squeeze(1)
        chosen = allowed[top_mask(magnitude[allowed], min(keep, allowed.numel()))]
        most = torch.full((active.numel(),), fan_in)
        return positions[chosen[top_mask_in_buckets(magnitude[chosen], row[chosen], most)]]
