"""Sparse networks from scratch: grow by a smoothed gradient, and move connections to the layers that use them most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns import Pattern, Unstructured
from gossamer.patterns.base import merge
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.rigl import gradient_of
from gossamer.rules.schedules import CosineDecay, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import top_mask


@rules.register("snfs")
@dataclass(frozen=True, kw_only=True)
class SNFS(Rule):
    """Sparse momentum: magnitude drop, growth by smoothed gradient; layers share connections by their mean momentum.

    The published method keeps a dense momentum for every layer, which is memory of dense size. This one smooths over
    updates, not over steps, and remembers no more candidates than the layer has connections: at an update the free
    positions with the largest gradients join those remembered, each score is ``beta * before + (1 - beta) * now``, and
    the largest are grown. The mean momentum of a layer is that of its existing connections: the optimizer's (SGD's
    buffer; Adam's ``m / (sqrt(v) + 1e-8)``), and where it keeps none, their gradient in the step just made.

    A layer cannot outgrow the capacity it was built with. So every layer gives up the share ``spare`` of its capacity
    at its first update; from then on the total of all layers is kept exactly, and they share the spare room. Further
    deviations: counts are rounded down, not up; no layer is exempt for being nearly dense; no rounding is corrected.

    Args:
        every, begin, until: see Rule.
        drop: float or Schedule - a float is the start of a cosine that ends at a hundredth of it; 0.5 as published.
        beta: float in [0, 1) - how much of the score is remembered; 0 grows by the gradient at the update alone.
        spare: float in [0, 1) - share of the capacity of all layers that stays unused.
    Cost: two passes over the dense gradient by tiles an update; memory O(connections), of all layers at once.
    Source: Dettmers and Zettlemoyer 2019, "Sparse Networks from Scratch", and the authors' code.
    Example:
        >>> round(SNFS().fraction(0, 1000), 3), round(SNFS().fraction(750, 1000), 3)
        (0.5, 0.005)
    """

    drop: float | Schedule = 0.5
    beta: float = 0.9
    spare: float = 0.2
    count: ClassVar[str] = "moves"
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"beta": 0.0, "spare": 0.0})
    needs_gradient: ClassVar[bool] = True
    together: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("beta", self.beta), ("spare", self.spare)):
            if not (is_number(value) and 0 <= value < 1):
                raise ConfigError("SNFS", expected=f"{name} in [0, 1)", got=repr(value))

    def schedule(self) -> Schedule:
        """A float calms down to a hundredth."""
        return (
            self.drop
            if isinstance(self.drop, Schedule)
            else CosineDecay(float(self.drop), float(self.drop) / 100)
        )

    def undefined_on(self, pattern: Pattern) -> str:
        """Only where a layer may have any number of connections."""
        if isinstance(pattern, Unstructured):
            return ""
        return (
            f"{pattern} fixes how many connections neurons have: use Unstructured() or Block(h, w), or RigL"
        )

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """Candidates and their smoothed gradients; how many units are still to be given up."""
        spare = int(self.spare * layer.capacity)
        return {
            "positions": layer.positions[:0],
            "smoothed": layer.values[:0],
            "surplus": max(0, layer.positions.numel() - (layer.capacity - spare)),
        }

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """One layer by itself."""
        return self.plan([layer], fraction)[layer.name]

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """Drop in every layer, share out, grow."""
        survivors = [layer.positions[self.keep(layer, fraction)] for layer in layers]
        rooms = [
            min(layer.capacity, layer.topology.grid.size) - kept.numel()
            for layer, kept in zip(layers, survivors, strict=True)
        ]
        lost = sum(
            layer.positions.numel() - kept.numel() for layer, kept in zip(layers, survivors, strict=True)
        )
        surplus = sum(layer.state["surplus"] for layer in layers)
        want = shared_out(max(lost - surplus, 0), [_mean_momentum(layer) for layer in layers], rooms)
        self._give_up(layers, min(lost, surplus))
        grown = [self._grown(*each) for each in zip(layers, survivors, want, strict=True)]
        return {
            layer.name: merge(kept, new) for layer, kept, new in zip(layers, survivors, grown, strict=True)
        }

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """One smoothed gradient for each of ascending positions, and a surplus."""
        positions, smoothed = state.get("positions"), state.get("smoothed")
        if not (isinstance(positions, Tensor) and isinstance(smoothed, Tensor)) or "surplus" not in state:
            return f"only {', '.join(state) or 'nothing'}, for positions, smoothed and surplus"
        if positions.dim() != 1 or smoothed.dim() != 2 or len(positions) != len(smoothed):
            return f"positions {tuple(positions.shape)} for smoothed gradients {tuple(smoothed.shape)}"
        fine = bool((positions.diff() > 0).all() and smoothed.isfinite().all())
        return "" if fine else "positions that do not ascend, or gradients that are not finite"

    @staticmethod
    def _give_up(layers: Sequence[LayerView], units: int) -> None:
        """What was not grown again is no surplus any more."""
        for layer in layers:
            given = min(units, layer.state["surplus"])
            layer.state["surplus"] -= given
            units -= given

    def _grown(self, layer: LayerView, survivors: Tensor, want: int) -> Tensor:
        """[want], int64, ascending: the free positions with the largest smoothed gradient."""
        gradient, size = gradient_of(layer), layer.topology.grid.size
        many = min(max(layer.capacity, want), size - survivors.numel())
        fresh = gradient.select(survivors, torch.tensor([many]), size)
        known = layer.state["positions"]
        candidates = torch.unique(torch.cat([fresh, known[~torch.isin(known, survivors)]]))
        smoothed = (1 - self.beta) * gradient.at(candidates)
        before = torch.isin(candidates, known)
        smoothed[before] += self.beta * layer.state["smoothed"][torch.isin(known, candidates)]
        scores = smoothed.abs().sum(1)
        best = top_mask(scores, min(layer.capacity, scores.numel()))
        layer.state.update(positions=candidates[best], smoothed=smoothed[best])
        chosen: Tensor = candidates[top_mask(scores, want)]
        return chosen


def shared_out(total: int, momenta: Sequence[float], rooms: Sequence[int]) -> list[int]:
    """How many connections each layer grows: by its share of the momentum, within its room.

    Args:
        total: int - to share out; where it exceeds all rooms, these are filled.
        momenta: [layers] - mean momentum.
        rooms: [layers] - how many a layer can take.
    Returns:
        [layers], int - their sum is total.
    Cost: O(layers squared).
    Example:
        >>> shared_out(10, [3.0, 1.0, 1.0], [4, 9, 9])
        [4, 3, 3]
    """
    given = [0] * len(rooms)
    while (left := min(total, sum(rooms)) - sum(given)) > 0:
        open_ = [n for n, room in enumerate(rooms) if given[n] < room]
        whole = sum(momenta[n] for n in open_)
        shares = [left * momenta[n] / whole if whole else left / len(open_) for n in open_]
        parts = [min(int(share), rooms[n] - given[n]) for n, share in zip(open_, shares, strict=True)]
        if not any(parts):  # less than one each: the largest shares first
            order = sorted(range(len(open_)), key=lambda i: -shares[i])[:left]
            parts = [int(i in order) for i in range(len(open_))]
        for n, part in zip(open_, parts, strict=True):
            given[n] += part
    return given


def _mean_momentum(layer: LayerView) -> float:
    """Of existing connections, from whatever the optimizer keeps."""
    first, second = layer.moment("exp_avg"), layer.moment("exp_avg_sq")
    if first is not None and second is not None:
        momentum = first / (second.sqrt() + 1e-8)
    else:
        buffer = layer.moment("momentum_buffer")
        momentum = layer.gradients if buffer is None else buffer
    return float(momentum.double().abs().mean()) if momentum.numel() else 0.0
