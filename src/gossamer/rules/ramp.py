"""Pruning by a threshold that rises in two slopes: blocks, or single connections, leave a network that starts dense."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.bounds import LARGEST_WEIGHT
from gossamer.errors import ConfigError, TrainingWarning
from gossamer.patterns import Pattern, Unstructured
from gossamer.patterns.base import whole
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.schedules import Constant, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import Topology


@rules.register("ramp")
@dataclass(frozen=True, kw_only=True)
class RampPruning(Rule):
    """Units whose largest absolute weight is below a threshold go for good; the threshold rises slowly, then faster.

    A unit is a block, or with Unstructured a connection. Start with all of them, ``sparsify(..., density=1.0,
    full="sparse")``, and let ``compact`` free what is gone. Between ``begin`` and the step ``ramp * total`` the
    threshold gains theta at an update, from there to ``until * total`` it gains ``phi * theta``, and at the end it
    stands at q, the weight below which the share ``drop`` of a trained dense network lies.

    With ``q=None`` no dense network is needed: q is found anew in every layer at every update, as the size below
    which the share ``drop`` of its units would lie, those that are gone included. So no layer loses more than that
    share. With a number the threshold is the published one, times the fourth root of a block's size, and what is
    left depends on the training.

    Deviations from the paper: theta ends at q for every ``phi``, not for 1.5 alone; a layer keeps one unit, with a
    warning, where the threshold exceeds all; a unit at the threshold stays.

    Args:
        every, begin: see Rule; the paper begins with the second epoch and updates every 100 steps.
        drop: float in (0, 1) - share of a layer's units that is gone at the end; read where ``q`` is None.
        until: float in (0, 1] - share of the training steps after which nothing goes any more (exclusive).
        ramp: float in [0, 1) - share of the training steps at which the steeper slope begins.
        phi: float >= 1 - how much steeper; 1.5 to 2 is usual.
        q: float > 0, or None - threshold at the end, for single connections: ``weight.abs().quantile(0.9)`` of a
            trained dense layer.
    Cost: O(connections) an update.
    Source: Narang et al. 2017, "Exploring Sparsity in Recurrent Neural Networks", algorithm 1 and its heuristics;
        Narang, Undersander, Diamos 2017, "Block-Sparse Recurrent Neural Networks".
    Example:
        >>> rule = RampPruning(begin=1000, ramp=0.25, until=0.5, q=0.1)  # of 20,000 steps
        >>> [round(0.1 * rule.fraction(step, 20_000), 4) for step in (1000, 5000, 9900)]
        [0.0, 0.0348, 0.0987]
    """

    drop: float | Schedule = 0.9
    until: float = 0.5
    ramp: float = 0.25
    phi: float = 1.5
    q: float | None = None
    count: ClassVar[str] = "shrinks"
    grows: ClassVar[bool] = False
    never: ClassVar[frozenset[str]] = frozenset({"revive"})
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({"until": 0.9, "q": 0.2, "phi": 2.0},)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.drop, Schedule) or not 0 < self.drop < 1:
            raise _wrong("a number drop in (0, 1): the course is given by ramp and phi", repr(self.drop))
        if not (is_number(self.ramp) and 0 <= self.ramp < 1):
            raise _wrong("ramp in [0, 1), a share of the training steps", repr(self.ramp))
        if not (is_number(self.phi) and 1 <= self.phi <= LARGEST_WEIGHT):
            raise _wrong(f"phi from 1 to {LARGEST_WEIGHT:g}", repr(self.phi))
        if self.q is not None and not (is_number(self.q) and 0 < self.q <= LARGEST_WEIGHT):
            raise _wrong(f"q above 0 and at most {LARGEST_WEIGHT:g}, or None", repr(self.q))

    def schedule(self) -> Schedule:
        """A float is the share at the end."""
        return self.drop if isinstance(self.drop, Schedule) else Constant(float(self.drop))

    def undefined_on(self, pattern: Pattern) -> str:
        """Only where a layer may have any number of units anywhere."""
        if isinstance(pattern, Unstructured):  # a Block is one, of larger units
            return ""
        return f"{pattern} fixes how many connections neurons have: use Unstructured() or Block(h, w)"

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """Also where layers have lost more than ``drop`` before, or the steeper slope begins after the end."""
        if reason := super().idle(total_steps, topologies):
            return reason
        if self.q is None and topologies and all(map(self._beyond, topologies)):
            gone = 1 - max(each.density for each in topologies)
            return (
                f"ramp: drop={self.drop} asks for less than is gone in every layer, {gone:.2f} or more, so nothing "
                'goes; start with density=1.0 and full="sparse", or choose a larger drop'
            )
        if self.ramp > self.until:
            return (
                f"ramp: the steeper slope begins at ramp={self.ramp}, behind until={self.until}, so phi={self.phi} "
                "has no effect; choose ramp below until"
            )
        return ""

    def fraction(self, step: int, total_steps: int) -> float:
        """The threshold as a share of q: 0 before ``begin``; about 1 at the end, and after it."""
        if step < self.begin:
            return 0.0
        end = self.until * total_steps
        bend = min(max(self.begin, self.ramp * total_steps), end)  # without room for both there is one slope
        way = (bend - self.begin) + self.phi * (end - bend)
        now = min(step, end)
        if way <= 0:
            return 1.0
        if now < bend:
            return (now - self.begin + 1) / way
        return ((bend - self.begin + 1) + self.phi * (now - bend + 1)) / way

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """[units], bool: those that reach the threshold ``fraction * q``; one at least."""
        size = layer.largest()
        if self.q is None:
            threshold = min(fraction, 1.0) * self._own(layer, size)
        else:
            threshold = fraction * self.q * layer.topology.grid.members**0.25
        return at_least_one(size >= threshold, size, layer.name, "q")

    def _own(self, layer: LayerView, size: Tensor) -> float:
        """The size that the share ``drop`` of a layer's units, those that are gone included, stay below."""
        stay = self._stay(layer.topology)
        if stay > size.numel():
            return 0.0
        return float(size.double().kthvalue(size.numel() - stay + 1).values)

    def _stay(self, topology: Topology) -> int:
        """How many units of a layer are left when the share ``drop`` is gone."""
        units = topology.grid.size
        return max(1, units - whole(self.schedule().start * units))

    def _beyond(self, topology: Topology) -> bool:
        """Whether a layer has fewer units than that."""
        return topology.positions.numel() < self._stay(topology)


def at_least_one(kept: Tensor, size: Tensor, name: str, cause: str) -> Tensor:
    """What is kept, and where that is nothing the largest unit, with a warning.

    Args:
        kept: [units], bool.
        size: [units], float - the first of the largest stays.
        name: str - of the layer.
        cause: str - the setting that would leave nothing.
    Cost: O(units).
    Example:
        >>> at_least_one(torch.tensor([False, True]), torch.tensor([1.0, 2.0]), "fc1", "q").tolist()
        [False, True]
    """
    if not kept.numel() or bool(kept.any()):
        return kept
    warnings.warn(
        f"{name} would lose all its connections: {cause} is too large for it; its largest unit stays",
        TrainingWarning,
        stacklevel=2,
    )
    return torch.arange(size.numel()) == size.argmax()


def _wrong(expected: str, got: str) -> ConfigError:
    return ConfigError("RampPruning", expected=expected, got=got)
