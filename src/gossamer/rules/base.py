"""A rule: which connections a layer drops and grows at an update. New algorithms start here."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import Tensor

from gossamer.errors import ConfigError, PatternError
from gossamer.patterns import Pattern
from gossamer.patterns.base import select
from gossamer.registry import Registry
from gossamer.rules.schedules import CosineDecay, Schedule
from gossamer.rules.view import LayerView
from gossamer.topology import Topology, top_mask

rules: Registry[type[Rule]] = Registry("rule", group="gossamer.rules")


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

    A class declares what it does; the conformance suite holds it to that. ``count`` says what becomes of the number of
    connections: "kept" in every bucket; "moves" between buckets or layers, within each layer's capacity; "shrinks", and
    never comes back. ``grows``: new connections appear. ``never`` names what must not happen: "change" of any
    connection; "ablate outputs", so that a neuron of the output layer loses its last input; "revive" a neuron without
    connections. ``variants`` are settings worth testing.
    """

    every: int = 100
    drop: float | Schedule = 0.3
    begin: int = 0
    until: float = 0.75

    name: ClassVar[str]
    count: ClassVar[str] = "kept"
    grows: ClassVar[bool] = True
    never: ClassVar[frozenset[str]] = frozenset()
    from_full: ClassVar[bool] = False  # layers may begin with all connections, also where they get them back
    variants: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    needs_gradient: ClassVar[bool] = False  # the dense gradient, by tiles, at update steps
    together: ClassVar[bool] = False  # ``plan`` sees all layers at once, not one after the other

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
        for field in fields(self):  # whatever else counts as true in Python was meant otherwise
            if field.type in (bool, "bool") and not isinstance(value := getattr(self, field.name), bool):
                raise ConfigError(
                    f"{type(self).__name__}({field.name}=)", expected="True or False", got=repr(value)
                )

    def schedule(self) -> Schedule:
        """The drop fraction over time."""
        return self.drop if isinstance(self.drop, Schedule) else CosineDecay(float(self.drop))

    def due(self, step: int, total_steps: int) -> bool:
        """Whether the topology is updated after optimizer step ``step`` (1-based)."""
        return step % self.every == 0 and self.begin <= step < self.until * total_steps

    def next_due(self, step: int, total_steps: int) -> int | None:
        """The first step behind a step after which the topology is updated; None where there is none."""
        return next((each for each in range(step + 1, total_steps + 1) if self.due(each, total_steps)), None)

    def idle(self, total_steps: int, topologies: Sequence[Topology] = ()) -> str:
        """What of the rule would do nothing in a training, and what to change; an empty string where all of it acts.

        Args:
            total_steps: int - of the whole training.
            topologies: of the layers, as they are when the training begins.
        Returns:
            str - ``attach`` says it in a warning.
        Cost: O(steps until the first update).
        """
        works = type(self).before_step is not Rule.before_step or type(self).after_step is not Rule.after_step
        if works or "change" in self.never or self.next_due(0, total_steps) is not None:
            return ""
        return (
            f"{self.name} will not change a connection in {total_steps} steps, with every={self.every}, "
            f"begin={self.begin} and until={self.until:g}: choose a smaller every or begin, name the steps of the "
            "whole training, or take Static"
        )

    def fraction(self, step: int, total_steps: int) -> float:
        """Drop fraction at a step."""
        return self.schedule()(step, self.begin, self.until * total_steps)

    def noted(self, step: int, total_steps: int) -> bool:
        """Whether an update at a step gets rows in ``engine.history``, which checkpoints hold."""
        return True

    def undefined_on(self, pattern: Pattern) -> str:
        """Why this rule is not defined on a pattern, or an empty string."""
        return ""

    def undefined_in(self, home: str) -> str:
        """Why this rule is not defined on layers of a home, "packed" or "masked", or an empty string."""
        return ""

    def check(self, pattern: Pattern, shape: tuple[int, int] | None = None) -> None:
        """Refuse a pattern on which the rule is not defined; raises PatternError with the reason.

        Args:
            pattern: Pattern.
            shape: (int, int), or None - outputs and inputs of a layer, for rules that not every shape suits.
        """
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

    def revalued(self, layer: LayerView, positions: Tensor) -> Tensor | None:
        """[units, members]: weights of a layer with these new positions; None: as they were, and zero where grown.

        It is asked after ``plan`` decided, and before anything is changed.
        """
        return None

    def forgets(self, layer: LayerView) -> bool:
        """Whether the optimizer begins anew with a layer after an update: its state of the weights is removed."""
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
        before = layer.pattern.count(
            layer.positions, grid
        )  # first: beside the survivors it would take more memory
        survivors = select(layer.positions, self.keep(layer, fraction))
        want = before - layer.pattern.count(survivors, grid)
        return self.grow(layer, survivors, want)

    def plan(self, layers: Sequence[LayerView], fraction: float) -> dict[str, Tensor]:
        """The new positions of every layer by name; override it, with ``together = True``, to weigh layers.

        Args:
            layers: views - all layers that take part in the update where the rule is ``together``, else one.
            fraction: float - drop fraction of this update.
        Returns:
            name -> [units], int64 - ascending, at most the layer's capacity.
        Cost: see the rule; the views of all layers are in memory at once where it is ``together``.
        """
        return {layer.name: self.update(layer, fraction) for layer in layers}

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """What the rule wants to remember of a layer: tensors and numbers by name, found in ``layer.state``.

        The engine saves it, and it is the same on every rank. A rule puts new values in place of old ones; it does not
        write into a tensor, for an update that is refused leaves everything as it was. Nothing in it is carried through
        an update: what belongs to a connection is kept beside its position.
        """
        return {}

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """What is wrong with what a checkpoint holds for ``layer.state``; an empty string where nothing is."""
        return ""

    def before_step(self, layer: LayerView, gradients: Tensor) -> Tensor:
        """Gradients of the existing connections that the coming optimizer step shall use, e.g. with a penalty added.

        Args:
            layer: LayerView - as it is before the step; without the dense gradient.
            gradients: [units, members] - in topology order; under AMP, those the optimizer sees.
        Returns:
            [units, members].
        Cost: where a rule overrides it, O(connections) a step beside its own; else nothing.
        """
        return gradients

    def after_step(self, layer: LayerView, values: Tensor) -> Tensor:
        """Weights of the existing connections that shall take the place of those that an optimizer step made.

        It is asked before an update after the same step. Optimizer state stays as it is.

        Args:
            layer: LayerView - as the step left it, ``layer.rate`` included; without the dense gradient.
            values: [units, members] - its weights, in topology order.
        Returns:
            [units, members] - new memory, or ``values`` as they are.
        Cost: where a rule overrides it, O(connections) a step beside its own; else nothing.
        """
        return values
