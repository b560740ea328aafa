"""A rule: which connections a layer drops and grows at an update. New algorithms start here."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.errors import ConfigError, NonFiniteError, PatternError
from gossamer.patterns import Pattern
from gossamer.registry import Registry
from gossamer.rules.schedules import Cosine, Schedule
from gossamer.topology import TileScores, Topology, top_mask

rules: Registry[Rule] = Registry("rule")


@dataclass(frozen=True)
class LayerView:
    """What a rule sees of a layer, the same in both homes (packed, masked).

    Args:
        name: str - name of the layer in its model.
        topology: Topology - the connections before the update.
        capacity: int - the layer's budget in units.
        values: [units, members], float - weights in topology order.
        gradient: TileScores or None - absolute dense gradient by tiles; only for rules that declare it.
        generator: torch.Generator - for every random choice.
        is_output: bool - the layer's neurons are the model's outputs and may not be ablated.
        step, total_steps: int - when the update happens, and steps of the whole training.
        source, reader: LayerView or None - the sparse layers that alone give this one's inputs and read its outputs,
            where that is known; without gradients, and neighbours of their own.
    """

    name: str
    topology: Topology
    capacity: int
    values: Tensor
    gradient: TileScores | None
    generator: torch.Generator
    is_output: bool = False
    step: int = 0
    total_steps: int = 0
    source: LayerView | None = None
    reader: LayerView | None = None

    @property
    def positions(self) -> Tensor:
        """[units], int64."""
        return self.topology.positions

    @property
    def pattern(self) -> Pattern:
        """The pattern."""
        return self.topology.pattern

    def magnitude(self) -> Tensor:
        """[units]: absolute weight, summed over the members of a unit; raises NonFiniteError."""
        scores = self.values.abs().sum(1)
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteError(
                "topology update",
                expected=f"finite weights in {self.name}",
                got="NaN or infinity",
                hint="lower the learning rate or clip gradients; nothing was changed",
            )
        return scores


def is_whole(value: object) -> bool:
    """Whether a setting is an integer; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a setting is a real number."""
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """Drop the weakest, grow the same number in every bucket; subclasses say what is weak and where to grow.

    Args:
        every: int - optimizer steps between updates.
        drop: float or Schedule - share of connections replaced; a float is the start of a cosine to 0.
        begin: int - first step (inclusive) at which updates may happen.
        until: float in (0, 1] - share of the training steps after which the topology stays (exclusive).
    """

    every: int = 100
    drop: float | Schedule = 0.3
    begin: int = 0
    until: float = 0.75

    name: ClassVar[str]
    needs_gradient: ClassVar[bool] = False  # the dense gradient, by tiles, at update steps

    def __post_init__(self) -> None:
        steps = is_whole(self.every) and is_whole(self.begin) and self.every >= 1 and self.begin >= 0
        shares = (
            is_number(self.until)
            and 0 < self.until <= 1
            and (isinstance(self.drop, Schedule) or is_number(self.drop))
        )
        if not (steps and shares):
            raise ConfigError(
                type(self).__name__,
                expected="integers every >= 1 and begin >= 0, until in (0, 1], a number or schedule drop",
                got=f"every={self.every!r}, begin={self.begin!r}, until={self.until!r}, drop={self.drop!r}",
            )
        self.schedule()  # checks the range of drop

    def schedule(self) -> Schedule:
        """The drop fraction over time."""
        return self.drop if isinstance(self.drop, Schedule) else Cosine(float(self.drop))

    def due(self, step: int, total_steps: int) -> bool:
        """Whether the topology is updated after optimizer step ``step`` (1-based)."""
        return step % self.every == 0 and self.begin <= step < self.until * total_steps

    def fraction(self, step: int, total_steps: int) -> float:
        """Drop fraction at a step."""
        return self.schedule()(step, self.begin, self.until * total_steps)

    def undefined_on(self, pattern: Pattern) -> str:
        """Why this rule is not defined on a pattern, or an empty string."""
        return ""

    def check(self, pattern: Pattern) -> None:
        """Refuse a pattern on which the rule is not defined; raises PatternError with the reason."""
        if reason := self.undefined_on(pattern):
            raise PatternError(
                type(self).__name__,
                expected="a pattern on which the rule is defined",
                got=str(pattern),
                hint=reason,
            )

    def folds(self) -> bool:
        """Whether the constant of a neuron that loses all its connections moves into the bias of its reader."""
        return False

    def draws_values(self) -> bool:
        """Whether grown connections get values from the layer's initial law; else they start at zero.

        ``keep`` then says which connections survive, the same whenever it is asked: one that does not, and is grown
        again in the same update, gets a new value too.
        """
        return False

    def keep(self, layer: LayerView, fraction: float) -> Tensor:
        """[units], bool: the connections that survive; ``floor(fraction * units)`` do not."""
        units = layer.positions.numel()
        return top_mask(layer.magnitude(), units - int(fraction * units))

    def grow(self, layer: LayerView, survivors: Tensor, want: Tensor) -> Tensor:
        """Survivors plus ``want[b]`` new positions in every bucket b, ascending. Default: none are grown."""
        return survivors

    def update(self, layer: LayerView, fraction: float) -> Tensor:
        """The new positions of a layer; every bucket holds as many as before.

        Args:
            layer: LayerView.
            fraction: float - drop fraction of this update.
        Returns:
            [units], int64 - ascending.
        Cost: see the rule.
        """
        grid = layer.topology.grid
        survivors = layer.positions[self.keep(layer, fraction)]
        want = layer.pattern.count(layer.positions, grid) - layer.pattern.count(survivors, grid)
        return self.grow(layer, survivors, want)
