"""Group lasso: a penalty on the norm of every unit, in the form that makes whole units exactly zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.bounds import LARGEST_WEIGHT
from gossamer.errors import ConfigError
from gossamer.patterns import Pattern
from gossamer.rules.base import Rule, is_number, rules
from gossamer.rules.ramp import RampPruning, at_least_one
from gossamer.rules.schedules import CosineDecay, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import Topology


def soft_threshold(values: Tensor, cut: float) -> Tensor:
    """Shorten every row by ``cut``; one that is no longer than that becomes zero.

    Args:
        values: [units, members], float.
        cut: float >= 0.
    Returns:
        [units, members] - new memory; norms are taken in float32 at least.
    Cost: O(values).
    Source: the proximal operator of ``cut * sum of norms``; Yuan and Lin 2006.
    Example:
        >>> soft_threshold(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0).tolist()
        [[2.4000000953674316, 3.200000047683716], [0.0, 0.0]]
    """
    if cut == 0:
        return values.clone()
    wide = torch.promote_types(values.dtype, torch.float32)
    norm = torch.linalg.vector_norm(values, dim=1, keepdim=True, dtype=wide)
    shorter: Tensor = values * (1 - cut / norm).clamp_(min=0)
    return shorter.to(values.dtype)


@rules.register("grouplasso")
@dataclass(frozen=True, kw_only=True)
class GroupLasso(Rule):
    """After every step each unit w becomes ``w * max(0, 1 - lr * lam / |w|)``; units that are zero go for good.

    That is the proximal step of the loss plus ``lam`` times the sum of the units' norms. Unlike the gradient of that
    penalty it gives exact zeros, so no threshold is needed. A unit is a block, or with Unstructured a connection, which
    makes this the lasso. A unit at zero may come back by its gradient until the next update, every ``every`` steps,
    removes it. With ``ramp``, pruning by a threshold removes what the penalty has made small, at updates of its own.

    The cut is ``lr * lam`` for every optimizer, as decoupled weight decay is; the paper adds the penalty to the loss
    and cuts by the ramp. Biases, and layers without a gradient in the step, are left alone.

    Args:
        every, begin: see Rule; the penalty begins with ``begin``, too.
        until: float in (0, 1] - share of the training steps after which neither the penalty acts nor units go.
        lam: float >= 0, or Schedule - weight of the penalty; a float is constant.
        scaled: bool - times the square root of a unit's size, for networks whose layers have units of different sizes.
        ramp: RampPruning or None - pruning by a threshold beside the penalty; choose ``lam`` smaller then.
    Cost: O(connections) a step and an update.
    Source: Yuan and Lin 2006 for the penalty; Narang, Undersander, Diamos 2017, "Block-Sparse Recurrent Neural
        Networks", for its use beside pruning.
    Example:
        >>> rule = GroupLasso(lam=1e-3, ramp=RampPruning(every=100))
        >>> rule.due(100, 1000), rule.strength(100, 1000)
        (True, 0.001)
    """

    drop: float | Schedule = 0.0
    until: float = 1.0
    lam: float | Schedule = 1e-3
    scaled: bool = False
    ramp: RampPruning | None = None
    count: ClassVar[str] = "shrinks"
    grows: ClassVar[bool] = False
    never: ClassVar[frozenset[str]] = frozenset({"revive"})
    variants: ClassVar[tuple[dict[str, Any], ...]] = (
        {"lam": CosineDecay(0.02), "scaled": True, "ramp": RampPruning(every=5, until=1.0)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drop != 0:
            raise _wrong("no drop: a unit goes when the penalty has made it zero", f"drop={self.drop!r}")
        lam = self.lam
        if not (isinstance(lam, Schedule) or (is_number(lam) and 0 <= lam <= LARGEST_WEIGHT)):
            raise _wrong(f"lam from 0 to {LARGEST_WEIGHT:g}, or a schedule", repr(lam))
        if not (self.ramp is None or isinstance(self.ramp, RampPruning)):
            raise _wrong("ramp=RampPruning(...) or None", repr(self.ramp))

    def undefined_on(self, pattern: Pattern) -> str:
        """As pruning by a threshold."""
        return RampPruning().undefined_on(pattern)

    def due(self, step: int, total_steps: int) -> bool:
        """At its own updates, and at those of the ramp."""
        return super().due(step, total_steps) or self._prunes(step, total_steps)

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """Neither an update nor a penalty, or a ramp beside it that does nothing."""
        if self.ramp is not None and (reason := self.ramp.idle(total_steps, topologies)):
            return f"{self.name}: {reason}"
        steps = range(max(1, self.begin), min(ceil(self.until * total_steps), total_steps + 1))
        if self.next_due(0, total_steps) is not None or any(self.strength(n, total_steps) for n in steps):
            return ""
        return (
            f"{self.name}: neither the penalty nor an update acts in {total_steps} steps with lam={self.lam}, "
            f"every={self.every}, begin={self.begin} and until={self.until}; choose a smaller begin, or a larger lam"
        )

    def strength(self, step: int, total_steps: int) -> float:
        """The weight of the penalty at a step."""
        if not self.begin <= step < self.until * total_steps:
            return 0.0
        if isinstance(self.lam, Schedule):
            return self.lam(step, self.begin, self.until * total_steps)
        return float(self.lam)

    def after_step(self, layer: LayerView, values: Tensor) -> Tensor:
        """The units, shortened."""
        lam = self.strength(layer.step, layer.total_steps)
        if lam == 0:
            return values
        size = layer.topology.grid.members**0.5 if self.scaled else 1.0
        return soft_threshold(values, layer.rate * lam * size)

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """[units], bool: those that are not zero, and reach the ramp's threshold where that is due; one at least."""
        size = layer.largest()
        kept = at_least_one(size > 0, size, layer.name, "lam")
        if self.ramp is not None and self._prunes(layer.step, layer.total_steps):
            kept = kept & self.ramp.keep(layer, self.ramp.fraction(layer.step, layer.total_steps))
        return kept

    def _prunes(self, step: int, total_steps: int) -> bool:
        return self.ramp is not None and self.ramp.due(step, total_steps)


def _wrong(expected: str, got: str) -> ConfigError:
    return ConfigError("GroupLasso", expected=expected, got=got)
