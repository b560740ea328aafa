"""One topology update: what will become of every layer is decided first, and then all layers are changed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import TopologyError
from gossamer.network.neighbours import Link
from gossamer.nn import SparseModule
from gossamer.rules import LayerView, Rule
from gossamer.rules.through import Through
from gossamer.topology import Edit, Topology, TopologyChange
from gossamer.trace.links import fold
from gossamer.training.contract import (
    checked_gradients,
    checked_memory,
    checked_plan,
    checked_values,
    checked_weights,
)
from gossamer.training.history import LayerUpdate
from gossamer.training.optimizers import following_state
from gossamer.training.stored import StepState
from gossamer.training.whole import WholeSteps


@dataclass(frozen=True)
class Plan:
    """What will become of a layer: little memory, for the plans of all layers are there at once."""

    layer: SparseModule
    edit: Edit
    generator: torch.Generator  # as the decision left it: draws the values of what is grown
    states: list[Tensor]
    remembered: dict[str, Any]  # what the rule will remember of the layer
    values: Tensor | None  # [units, members], where the rule gives the weights new ones
    forgotten: bool  # whether the optimizer begins anew with it

    def change(self) -> TopologyChange:
        """The change of the layer as it is now."""
        return self.edit.of(self.layer.encoded)


class Planner:
    """Asks the rule about layers, and carries out what it decided.

    Args:
        layers, rule, total_steps, seed, outputs, links: see Engine.
        optimizers: those with state of the layers, the one that makes the steps last.
    """

    def __init__(
        self,
        layers: Mapping[str, SparseModule],
        optimizers: Sequence[Optimizer],
        rule: Rule,
        total_steps: int,
        seed: int,
        outputs: frozenset[str],
        links: Iterable[Link],
    ) -> None:
        self.layers, self.rule, self.total_steps, self.seed, self.outputs = (
            layers,
            rule,
            total_steps,
            seed,
            outputs,
        )
        self._optimizers = optimizers  # the last one makes the steps
        self._whole = WholeSteps(rule) if isinstance(rule, Through) else None
        self.remembered: dict[str, dict[str, Any]] = {}  # by layer, what the rule asked to keep
        self._links = [link for link in links if link.source in layers and link.reader in layers]

    def plans(self, step: int, resting: Container[str] = ()) -> dict[str, Plan]:
        """What will become of the layers that do not rest, after a step; nothing is changed."""
        fraction = self.rule.fraction(step, self.total_steps)
        taking_part = [name for name in self.layers if name not in resting]
        links = [link for link in self._links if {link.source, link.reader} <= set(taking_part)]
        plans: dict[str, Plan] = {}
        for names in [taking_part] if self.rule.together else [[name] for name in taking_part]:
            plans |= self._decide(names, step, fraction, links)
        return plans

    def carry_out(self, plans: Mapping[str, Plan], step: int) -> list[LayerUpdate]:
        """Change every layer that has a plan; one row of history each."""
        if self.rule.folds():
            self._fold({name: plan.change() for name, plan in plans.items()})
        rows = []
        for name, plan in plans.items():
            change = plan.change()
            plan.layer.carry(change, () if self._whole and self._whole.trained else plan.states)
            if plan.values is not None:
                plan.layer.place(plan.layer.weights, plan.values)
            if plan.forgotten:
                for optimizer in self._optimizers:
                    optimizer.state.pop(plan.layer.weights, None)
            if self.rule.draws_values():
                plan.layer.plant(change, plan.layer.draw(change.new, plan.generator))
            if plan.remembered:
                self.remembered[name] = plan.remembered
            if self.rule.noted(step, self.total_steps):
                rows.append(_record(step, name, change))
        return rows

    @property
    def prepares(self) -> bool:
        """Whether the rule has something to do before every step."""
        return self._whole is not None or type(self.rule).before_step is not Rule.before_step

    @torch.no_grad()
    def prepare(self, step: int) -> None:
        """Let the rule change the gradients that the coming step will use."""
        if self._whole:
            self._whole.open({name: (layer, self._alone(name, step)) for name, layer in self.layers.items()})
            return
        for name, layer in self.layers.items():
            if (gradient := layer.weights.grad) is not None:
                units = layer.unit_values(gradient)
                layer.place(gradient, checked_gradients(self.rule, self._alone(name, step), units))

    @property
    def finishes(self) -> bool:
        """Whether the rule has something to do after every step."""
        return self._whole is not None or type(self.rule).after_step is not Rule.after_step

    @torch.no_grad()
    def finish(self, step: int, graded: AbstractSet[int]) -> None:
        """Let the rule change the weights that the step made; those that had no gradient in it stay."""
        if self._whole:
            self.remembered |= self._whole.close()
            return
        stepped = [name for name, layer in self.layers.items() if id(layer.weights) in graded]
        views = {name: self._alone(name, step) for name in stepped}
        found = {name: checked_weights(self.rule, view) for name, view in views.items()}
        for name in stepped:
            if found[name] is not views[name].values:
                self.layers[name].place(self.layers[name].weights, found[name])

    @torch.no_grad()
    def undo(self) -> None:
        """No step was made after all: what ``prepare`` did to weights is taken back."""
        if self._whole:
            self._whole.undo()

    def _decide(self, names: Sequence[str], step: int, fraction: float, links: list[Link]) -> dict[str, Plan]:
        """What will become of layers that the rule sees at once."""
        views = {name: self._view(name, step, links) for name in names}
        decided = checked_plan(self.rule, list(views.values()), fraction)
        return {name: self._planned(views[name], decided[name], fraction) for name in names}

    def _planned(self, view: LayerView, positions: Tensor, fraction: float) -> Plan:
        """The plan of one layer; raises TopologyError where the rule decided what cannot be."""
        layer = self.layers[view.name]
        layer.pattern.validate(positions, layer.grid)
        if positions.numel() > layer.capacity:
            raise TopologyError(
                f"topology update of {view.name}",
                expected=f"at most {layer.capacity} units, the capacity it was built with",
                got=str(positions.numel()),
            )
        change = TopologyChange.between(view.topology, Topology(layer.pattern, layer.shape, positions))
        if self.rule.draws_values():
            change = change.forgetting(self.rule.keep(view, fraction))
        states = {
            state.data_ptr(): state  # each memory once: optimizers share state, gradients, and weights kept as state
            for each in self._optimizers
            for state in following_state(each, layer.weights, view.name)
        }
        states.pop(layer.weights.data_ptr(), None)
        return Plan(
            layer,
            change.edit(),
            view.generator,
            [*states.values()],
            checked_memory(self.rule, view.name, view.state),
            checked_values(self.rule, view, positions),
            self.rule.forgets(view),
        )

    def _fold(self, changes: Mapping[str, TopologyChange]) -> None:
        """Move the constants of neurons that lose their last connections; reads the layers as they were."""
        for link in self._links:
            if link.source not in changes or link.reader not in changes:
                continue
            source, reader = changes[link.source], changes[link.reader]
            dead = (source.new.fan_in() == 0) & (reader.old.fan_out() > 0) & (reader.new.fan_out() == 0)
            if bool(dead.any()):
                fold(link, self.layers[link.source], self.layers[link.reader], dead)

    def _view(self, name: str, step: int, links: list[Link]) -> LayerView:
        """The layer as the rule sees it; a neighbour that rests is no neighbour."""
        scores = self.layers[name].gradient_scores(name) if self.rule.needs_gradient else None
        source = next((self._alone(link.source, step) for link in links if link.reader == name), None)
        reader = next((self._alone(link.reader, step) for link in links if link.source == name), None)
        view = replace(self._alone(name, step), gradient=scores, source=source, reader=reader)
        return view if view.state else replace(view, state=self.rule.new_state(view))

    def _alone(self, name: str, step: int) -> LayerView:
        """The layer without gradient and neighbours."""
        layer, number = self.layers[name], list(self.layers).index(name)
        draw = torch.Generator().manual_seed(
            ((self.seed * 1_000_003 + step) * 1_000_003 + number) % (1 << 63)
        )
        view = LayerView(
            name,
            layer.encoded,
            layer.capacity,
            layer.unit_values(),
            None,
            draw,
            name in self.outputs,
            step,
            self.total_steps,
            stored=StepState(layer, self._optimizers[-1]),
            home=layer.home,
            state=dict(self.remembered.get(name, {})),
        )
        return self._whole.seen(view) if self._whole else view


def _record(step: int, name: str, change: TopologyChange) -> LayerUpdate:
    """One row of history."""
    fan_in = change.new.fan_in()
    return LayerUpdate(
        step,
        name,
        change.dropped,
        change.grown,
        change.new.connections,
        int(fan_in.count_nonzero()),
        int(fan_in.max()),
    )
