"""Joins a rule to a model at the optimizer step; the user's training loop does not change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import ConfigError, FormatError
from gossamer.nn import SparseModule
from gossamer.nn.chain import Link, fold
from gossamer.rules import LayerView, Rule, describe
from gossamer.topology import Edit, Topology, TopologyChange
from gossamer.training.optimizers import following_state, inside_another_step, refuse_flattened_state
from gossamer.training.ranks import Ranks, digest


@dataclass(frozen=True)
class Update:
    """What one topology update did to one layer: a row of ``Engine.history``."""

    step: int
    layer: str
    dropped: int
    grown: int
    connections: int
    active: int  # neurons with at least one connection
    fan_in: int  # largest fan-in

    @classmethod
    def parse(cls, row: Any) -> Update:
        """A row from plain data; raises FormatError where it is anything else."""
        kinds = {field.name: str if field.name == "layer" else int for field in fields(cls)}
        if not isinstance(row, dict) or {key: type(value) for key, value in row.items()} != kinds:
            raise FormatError("engine history", expected=f"rows of {', '.join(kinds)}", got=repr(row)[:80])
        return cls(**row)


@dataclass(frozen=True)
class _Plan:
    """What will become of a layer: little memory, for the plans of all layers are there at once."""

    layer: SparseModule
    edit: Edit
    generator: torch.Generator  # as the decision left it: draws the values of what is grown
    states: list[Tensor]

    def change(self) -> TopologyChange:
        """The change of the layer as it is now."""
        return self.edit.of(self.layer.topology)


class Engine:
    """Topology updates that ride on ``optimizer.step()``; made by ``attach``.

    Args:
        layers: name -> SparseModule - the layers that follow the rule.
        optimizer: Optimizer - whose steps are counted.
        rule: Rule.
        total_steps: int - optimizer steps of the whole training.
        seed: int - of every random choice; drawn afresh from (seed, step, layer), so that resuming needs no state.
        outputs: names of layers whose neurons are never ablated.
        links: which layers read which, as far as it is known.
        ranks: Ranks - the processes that decide together.
    """

    def __init__(
        self,
        layers: dict[str, SparseModule],
        optimizer: Optimizer,
        rule: Rule,
        total_steps: int,
        seed: int = 0,
        outputs: Iterable[str] = (),
        links: Iterable[Link] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.layers, self.rule, self.total_steps, self.seed = layers, rule, total_steps, seed
        self.outputs = frozenset(outputs)
        self._links = [link for link in links if link.source in layers and link.reader in layers]
        self.ranks = ranks or Ranks(in_step=False)
        self.step = 0
        self.history: list[Update] = []
        self._optimizer = optimizer
        self._hook = optimizer.register_step_post_hook(self._after_step)
        for layer in layers.values():
            layer.tape.followed, layer.tape.orphan = True, False
        self._arm()

    def detach(self) -> None:
        """Let go of optimizer and layers; the topology stays as it is."""
        self._hook.remove()
        for layer in self.layers.values():
            layer.tape.followed = False
            layer.tape.arm(layer.weights, recording=False)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count the step; update the topology where the rule is due."""
        if inside_another_step(optimizer):
            return
        self.step += 1
        try:
            if self.rule.due(self.step, self.total_steps):
                self.update()
        finally:
            self._arm()

    def _arm(self) -> None:
        """Record inputs and output gradients during the step that ends in an update, and only then."""
        recording = self.rule.needs_gradient and self.rule.due(self.step + 1, self.total_steps)
        for layer in self.layers.values():
            layer.tape.arm(layer.weights, recording)

    @torch.no_grad()
    def update(self) -> None:
        """Update every layer now: all decisions first, then all changes, so that an error changes nothing.

        Raises:
            NonFiniteError: weights or gradients are NaN or infinite.
            StateError: optimizer state that does not follow the shape of the weights.
            ConfigError, RankError: with several ranks, one that decided otherwise or does not answer.
        Cost: the rule's, plus O(connections) for the remapping; with several ranks and growth by gradient, the exchange
            of the recorded passes.
        """
        refuse_flattened_state(self._optimizer)
        fraction = self.rule.fraction(self.step, self.total_steps)
        if self.rule.needs_gradient:
            self.ranks.share(self.layers.values())
        plans = {name: self._decide(name, fraction) for name in self.layers}
        self.ranks.agree(
            "topology update",
            lambda: (
                {"step": self.step}
                | {f"topology of {name}": digest(plan.change().new.positions) for name, plan in plans.items()}
            ),
        )
        if self.rule.folds():
            self._fold({name: plan.change() for name, plan in plans.items()})
        for name, plan in plans.items():
            change = plan.change()
            plan.layer.carry(change, plan.states)
            if self.rule.draws_values():
                plan.layer.plant(change, plan.layer.draw(change.new, plan.generator))
            self.history.append(self._record(name, change))

    def _decide(self, name: str, fraction: float) -> _Plan:
        """What will become of a layer."""
        layer, view = self.layers[name], self._view(name)
        positions = self.rule.update(view, fraction)
        layer.pattern.validate(positions, layer.grid)
        change = TopologyChange.between(view.topology, Topology(layer.pattern, layer.shape, positions))
        if self.rule.draws_values():
            change = change.forgetting(self.rule.keep(view, fraction))
        states = following_state(self._optimizer, layer.weights, name)
        return _Plan(layer, change.edit(), view.generator, states)

    def _fold(self, changes: dict[str, TopologyChange]) -> None:
        """Move the constants of neurons that lose their last connections; reads the layers as they were."""
        for link in self._links:
            source, reader = changes[link.source], changes[link.reader]
            dead = (source.new.fan_in() == 0) & (reader.old.fan_out() > 0) & (reader.new.fan_out() == 0)
            if bool(dead.any()):
                fold(link, self.layers[link.source], self.layers[link.reader], dead)

    def _view(self, name: str) -> LayerView:
        """The layer as the rule sees it."""
        scores = self.layers[name].gradient_scores(name) if self.rule.needs_gradient else None
        source = next((self._alone(link.source) for link in self._links if link.reader == name), None)
        reader = next((self._alone(link.reader) for link in self._links if link.source == name), None)
        return replace(self._alone(name), gradient=scores, source=source, reader=reader)

    def _alone(self, name: str) -> LayerView:
        """The layer without gradient and neighbours."""
        layer, number = self.layers[name], list(self.layers).index(name)
        draw = torch.Generator().manual_seed(
            ((self.seed * 1_000_003 + self.step) * 1_000_003 + number) % (1 << 63)
        )
        return LayerView(
            name,
            layer.topology,
            layer.capacity,
            layer.unit_values(),
            None,
            draw,
            name in self.outputs,
            self.step,
            self.total_steps,
        )

    def _record(self, name: str, change: TopologyChange) -> Update:
        """One row of history."""
        fan_in = change.new.fan_in()
        return Update(
            self.step,
            name,
            change.dropped,
            change.grown,
            change.new.connections,
            int(fan_in.count_nonzero()),
            int(fan_in.max()),
        )

    def state_dict(self) -> dict[str, Any]:
        """Step, settings and history, ready for JSON; topologies live in the model's own state_dict."""
        return {**self._settings(), "step": self.step, "history": [asdict(row) for row in self.history]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; raises ConfigError or FormatError, with nothing changed, as ``parse`` does."""
        self.step, self.history = self.parse(state)
        self._arm()

    def parse(self, state: Any) -> tuple[int, list[Update]]:
        """Step and history of a state; raises ConfigError where it is of another run, FormatError where damaged."""
        if not isinstance(state, dict):
            raise FormatError(
                "Engine.load_state_dict", expected="the state of an engine", got=repr(state)[:60]
            )
        mine, state = self._settings(), {"ranks": 1, **state}  # files of one process do not say so
        if differ := {key: (value, state.get(key)) for key, value in mine.items() if state.get(key) != value}:
            raise ConfigError(
                "Engine.load_state_dict",
                expected=", ".join(f"{key}={value[0]}" for key, value in differ.items()),
                got=", ".join(f"{key}={value[1]}" for key, value in differ.items()),
                hint="attach with the settings the checkpoint was written with",
            )
        step, rows = state.get("step"), state.get("history")
        if type(step) is not int or step < 0 or not isinstance(rows, list):
            raise FormatError(
                "Engine.load_state_dict",
                expected="a step and a history",
                got=f"step {step!r}, {type(rows).__name__}",
            )
        return step, [Update.parse(row) for row in rows]

    def _settings(self) -> dict[str, Any]:
        return {
            "rule": describe(self.rule),
            "total_steps": self.total_steps,
            "seed": self.seed,
            "layers": list(self.layers),
            "outputs": sorted(self.outputs),
            "ranks": self.ranks.count,
        }
