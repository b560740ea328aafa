"""Gradual magnitude pruning: a network that starts dense loses its smallest weights along a cubic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.patterns import Pattern, Unstructured
from gossamer.patterns.base import merge
from gossamer.registry import check_choice
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.schedules import CubicDecay, Schedule
from gossamer.rules.strongest import SCOPES, Candidates, fixed_counts, stay, strongest
from gossamer.rules.view import LayerView
from gossamer.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Gradual(Rule):
    """What rules share that let a growing share of all units go.

    Args:
        every, begin: see Rule.
        drop: float in (0, 1), or Schedule - share of the units that is gone at the last update; a float is the end of
            a cubic, a schedule is the share itself.
        until: float in (0, 1] - share of the training steps after which nothing goes (exclusive).
        initial: float in [0, 1) - share that is gone at ``begin``; read where ``drop`` is a float.
        scope: "layer" - every layer loses the share; "global" - all layers together do, by the mean size of a unit's
            weights.
    """

    drop: float | Schedule = 0.9
    initial: float = 0.0
    scope: str = "layer"
    count: ClassVar[str] = "shrinks"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self).__name__
        check_choice(f"{kind}(scope=)", self.scope, SCOPES)
        if not (is_number(self.initial) and 0 <= self.initial < 1):
            raise ConfigError(f"{kind}(initial=)", expected="a share in [0, 1)", got=repr(self.initial))
        if not isinstance(self.drop, Schedule) and not self.initial <= self.drop < 1:
            raise ConfigError(
                f"{kind}(drop=)",
                expected=f"a share from initial={self.initial} to below 1",
                got=repr(self.drop),
            )

    @property
    def together(self) -> bool:  # type: ignore[override]
        """Whether layers are weighed against each other."""
        return self.scope == "global"

    def schedule(self) -> Schedule:
        """A float is the end of the cubic of the paper."""
        return self.drop if isinstance(self.drop, Schedule) else CubicDecay(self.initial, float(self.drop))

    def fraction(self, step: int, total_steps: int) -> float:
        """Share that is gone after an update at a step; the last update ends the course."""
        return self.schedule()(step, self.begin, self.last(total_steps))

    def last(self, total_steps: int) -> int:
        """The step of the last update: the last multiple of ``every`` before the share ``until`` is over."""
        before = ceil(self.until * total_steps) - 1
        return before - before % self.every

    def undefined_on(self, pattern: Pattern) -> str:
        """Only where a layer may lose connections; of all layers together only where neurons have no quotas."""
        if self.scope == "global" and not isinstance(pattern, Unstructured):  # a Block is one
            return f"{pattern} has quotas of its neurons: use scope='layer', or Unstructured() or Block(h, w)"
        return fixed_counts(pattern)

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """Also where layers have lost as much before, or cannot lose as much."""
        if (reason := super().idle(total_steps, topologies)) or not topologies:
            return reason
        end = self.fraction(self.last(total_steps), total_steps)
        if all(each.positions.numel() <= stay(each.grid.size, end) for each in topologies):
            gone = 1 - max(each.density for each in topologies)
            return (
                f"{self.name}: {end:g} of every layer shall go and {gone:.2f} is gone before, so nothing goes; start "
                'with density=1.0 and full="sparse", or choose a larger drop'
            )
        buckets = [each.grid.size // each.pattern.bucket(each.grid) for each in topologies]
        if any(stay(each.grid.size, end) < few for each, few in zip(topologies, buckets, strict=True)):
            return (
                f"{self.name}: drop={end:g} leaves less than one connection for each neuron of some layers; they "
                "keep one, so these layers stay denser"
            )
        return ""

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """One layer by itself."""
        return self.plan([layer], fraction)[layer.name]

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """The largest of what there is."""
        return strongest([self.candidates(layer) for layer in layers], fraction, self.scope)

    def candidates(self, layer: LayerView) -> Candidates:
        """The existing units, by the mean of their absolute weights."""
        scores = layer.magnitude() / layer.topology.grid.members
        return Candidates(layer.name, layer.topology, layer.positions, scores)


@rules.register("gradual")
@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(Gradual):
    """Gradual magnitude pruning: at every update the smallest weights go, until the share ``drop`` is gone.

    The number that stays is exact: of N units of a layer ``N - floor(s * N)``, where s follows
    ``drop + (initial - drop) * (1 - x)**3`` and x runs from 0 at ``begin`` to 1 at the last update. Start with all
    connections, ``sparsify(..., density=1.0, full="sparse")``, and keep values with ``init="keep"``.

    A masked layer has room for the value of a connection that went: as published, it is kept, trains no more, and the
    connection comes back with it where others have become smaller. A packed layer has no such room: what went is gone,
    and ``compact`` frees its memory. ``returns=False`` is that in both.

    Deviations from the published code: counts are exact, it estimates a threshold; the units of Block are pruned in
    convolutions, too, by the mean of their absolute weights; FanIn takes the share from every neuron, and each keeps
    one connection.

    Args:
        every, drop, begin, until, initial, scope: see Gradual; ``every`` 100 to 1000 steps is usual.
        returns: bool - connections of masked layers may come back.
    Cost: O(connections) an update; with ``returns`` masked layers keep a copy of the weights that are gone.
    Source: Zhu and Gupta 2017, "To prune, or not to prune", equation 1.
    Example:
        >>> rule = GradualMagnitude(begin=1000, every=500, until=1.0)  # of 10,500 steps: the last update is at 10,000
        >>> [round(rule.fraction(step, 10_500), 6) for step in (1000, 2000, 4000, 5500, 8000, 10_000)]
        [0.0, 0.267901, 0.633333, 0.7875, 0.890123, 0.9]
    """

    returns: bool = True
    never: ClassVar[frozenset[str]] = frozenset()
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"returns": False, "until": 0.9},)

    @property
    def grows(self) -> bool:  # type: ignore[override]
        """Where connections may come back."""
        return self.returns

    def candidates(self, layer: LayerView) -> Candidates:
        """The existing units; in masked layers those that went, too."""
        found = super().candidates(layer)
        if not self._returns(layer):
            return found
        positions, values = with_those_gone(layer)
        layer.state.update(positions=positions, values=values)
        return Candidates(layer.name, layer.topology, positions, values.abs().mean(1))

    def revalued(self, layer: LayerView, positions: Tensor) -> Tensor | None:
        """What comes back has the value with which it went."""
        if not self._returns(layer):
            return None
        values: Tensor = layer.state["values"][torch.searchsorted(layer.state["positions"], positions)]
        return values

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """A value for each of ascending positions."""
        positions, values = state.get("positions"), state.get("values")
        if not (isinstance(positions, Tensor) and isinstance(values, Tensor)):
            return f"only {', '.join(state) or 'nothing'}, for positions and values"
        if positions.dim() != 1 or values.dim() != 2 or len(positions) != len(values):
            return f"positions {tuple(positions.shape)} for values {tuple(values.shape)}"
        fine = bool((positions.diff() > 0).all() and values.isfinite().all())
        return "" if fine else "positions that do not ascend, or values that are not finite"

    def _returns(self, layer: LayerView) -> bool:
        return self.returns and layer.home == "masked"


def with_those_gone(layer: LayerView) -> tuple[Tensor, Tensor]:
    """Positions and values of a layer's units and of those that the rule remembers, each in ascending order.

    Args:
        layer: LayerView - ``state`` holds "positions" and "values" after the first update.
    Returns:
        ([n], int64; [n, members]) - the values of existing units are those of now.
    Cost: O(n).
    """
    if "positions" not in layer.state:
        return layer.positions.clone(), layer.values.clone()
    gone = ~torch.isin(layer.state["positions"], layer.positions)
    positions = merge(layer.positions, layer.state["positions"][gone])
    values = layer.values.new_zeros(positions.numel(), layer.values.shape[1])
    values[torch.searchsorted(positions, layer.positions)] = layer.values
    values[torch.searchsorted(positions, layer.state["positions"][gone])] = layer.state["values"][gone].to(
        values
    )
    return positions, values
