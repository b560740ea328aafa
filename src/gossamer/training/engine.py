"""Joins a rule to a model at the optimizer step; the user's training loop does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import ConfigError, FormatError
from gossamer.network.neighbours import Link
from gossamer.nn import SparseModule
from gossamer.rules import Rule, describe
from gossamer.rules.through import Through
from gossamer.training.history import LayerUpdate, Standing, flip_rates, parse_state
from gossamer.training.optimizers import inside_another_step, nested, refuse_flattened_state
from gossamer.training.plain import to_plain
from gossamer.training.planning import Planner
from gossamer.training.ranks import Ranks, digest
from gossamer.training.resting import Rests, at_rest
from gossamer.training.riding import claim, ride
from gossamer.training.sharing import refuse_shared
from gossamer.training.steps import Steps, closure_then


class Engine:
    """Topology updates that ride on ``optimizer.step()``; made by ``attach``.

    Args:
        layers: name -> SparseModule - the layers that follow the rule.
        optimizer: Optimizer - whose steps are counted; where it holds another one that makes them, that one's.
        rule: Rule.
        total_steps: int - optimizer steps of the whole training.
        seed: int - of every random choice; drawn afresh from (seed, step, layer), so that resuming needs no state.
        outputs: names of layers whose neurons are never ablated.
        links: which layers read which, as far as it is known.
        ranks: Ranks - the processes that decide together.
        named: name -> SparseModule - all sparse layers of the model; None means ``layers``.

    ``resting`` says which layers took no part in the last update, and why: a frozen layer, or one without a gradient in
    the step before it, keeps its topology until it trains again.
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
        named: Mapping[str, SparseModule] | None = None,
    ) -> None:
        self.layers, self.rule, self.total_steps, self.seed = layers, rule, total_steps, seed
        self.outputs, self._named = frozenset(outputs), named or layers
        self.ranks = ranks or Ranks(in_step=False)
        self.step = 0
        self.history: list[LayerUpdate] = []
        self.resting: dict[str, str] = {}
        self._graded: set[int] | None = None  # parameters that had a gradient in the step being followed
        self._rests = Rests()
        around = nested(optimizer)
        self._optimizer = optimizer = around[-1]
        self._expected: dict[str, str] | None = (
            None  # digests in a state that was loaded, until they are compared
        )
        self._steps = Steps(optimizer)
        self._planner = Planner(layers, around, rule, total_steps, seed, self.outputs, links)
        claim(optimizer, self.load_state_dict)
        hidden = torch.compiler.disable  # a compiled optimizer calls the hooks, which are not for its graph
        self._hooks = [
            optimizer.register_step_pre_hook(hidden(self._before_step)),
            optimizer.register_step_post_hook(hidden(self._after_step)),
            *(hook for each in around for hook in ride(each, self)),
        ]
        for layer in layers.values():
            layer.tape.follow(self, through=isinstance(rule, Through))
        self._arm()

    def __repr__(self) -> str:
        due = self.rule.next_due(self.step, self.total_steps)
        coming = "no update is due" if due is None else f"next update at {due}"
        layers = f"{len(self.layers)} layer{'s' if len(self.layers) != 1 else ''}"
        return f"Engine({self.rule}, {layers}, step {self.step} of {self.total_steps}, {coming})"

    def detach(self) -> None:
        """Let go of optimizer and layers; the topology stays as it is."""
        for hook in self._hooks:
            hook.remove()
        for layer in self.layers.values():
            if layer.tape.let_go(self):  # else another engine may have it by now
                layer.tape.arm(layer.weights, recording=False)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Look at the parameters as they are; a closure that computes the gradients gets its end extended."""
        claim(optimizer, self.load_state_dict)
        refuse_shared("optimizer.step", self.rule, self.layers, self._named)
        self._check_topologies()
        extended = None
        if self._planner.prepares and not inside_another_step(optimizer):
            prepare = partial(self._planner.prepare, self.step + 1)
            extended = closure_then(args, kwargs, self._planner.undo, prepare)
            if extended is None:
                prepare()
        self._steps.begin()
        return extended

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count the step, if it was one; let the rule finish it, and update the topology where that is due."""
        if inside_another_step(optimizer):
            return
        if not self._steps.made():
            self._planner.undo()
            self._arm()
            return
        self.step += 1
        try:
            if self._planner.finishes:
                self._planner.finish(self.step, self._steps.graded)
            if self.rule.due(self.step, self.total_steps):
                self._graded = self._steps.graded
                self.update()
        finally:
            self._graded = None
            self._arm()

    def _arm(self) -> None:
        """Record inputs and output gradients during the step that ends in an update, and only then."""
        due = self.rule.due(self.step + 1, self.total_steps)
        for layer in self.layers.values():
            layer.tape.arm(layer.weights, recording=due and self.rule.needs_gradient)
            if due:
                layer.tape.notice(layer.weights)

    @torch.no_grad()
    def update(self) -> None:
        """Update the layers now: all decisions first, then all changes, so that an error changes nothing.

        After a step, layers that had no gradient in it rest; see ``resting``. Asked for by hand, none does.

        Raises:
            NonFiniteError: weights or gradients are NaN or infinite.
            StateError: optimizer state that does not follow the shape of the weights.
            ConfigError, RankError: with several ranks, one that decided otherwise or does not answer.
        Cost: the rule's, plus O(connections) for the remapping; with several ranks and growth by gradient, the exchange
            of the recorded passes.
        """
        refuse_shared("topology update", self.rule, self.layers, self._named)
        self._check_topologies()
        refuse_flattened_state(self._optimizer)
        if self.rule.needs_gradient:
            self.ranks.share(self.layers.values())
        self.resting = {}
        if self._graded is not None:
            self.resting = at_rest(self.layers, self._optimizer, self._graded, self.rule.needs_gradient)
            self._rests.note(self.layers, self.resting)
        plans = self._planner.plans(self.step, self.resting)
        self.ranks.agree(
            "topology update",
            lambda: (
                {"step": self.step}
                | {f"topology of {name}": digest(plan.change().new.positions) for name, plan in plans.items()}
                | {f"memory of {name}": _digests_of(plan.remembered) for name, plan in plans.items()}
            ),
        )
        self.history += self._planner.carry_out(plans, self.step)

    def flip_rates(self) -> dict[str, list[tuple[int, float]]]:
        """Layer -> (step, share of its positions whose mask changed) of every update; it should peak, then decay."""
        return flip_rates(self.history, {name: prod(layer.shape) for name, layer in self.layers.items()})

    def state_dict(self) -> dict[str, Any]:
        """Step, settings, history and digests of the topologies, ready for JSON; the model holds the topologies.

        Where the rule remembers something, its numbers and tensors are there, too.
        It rides in ``optimizer.state_dict()`` too: a trainer that saves and loads the optimizer resumes the engine.
        """
        return {
            **self._settings(),
            "step": self.step,
            "history": [asdict(row) for row in self.history],
            "topologies": self._digests(),
            **({"remembered": dict(kept)} if (kept := self._planner.remembered) else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; raises ConfigError or FormatError, with nothing changed, as ``parse`` does.

        The model has to have the topologies of the state by the next step, else that step is refused.
        """
        standing = self.parse(state)
        self.step, self.history, self._expected = standing.step, standing.history, standing.topologies
        self._planner.remembered = standing.remembered
        self._arm()

    def parse(self, state: Any) -> Standing:
        """What a state says; raises ConfigError where it is of another run, FormatError where damaged."""
        standing = parse_state(state, self._settings())
        for name, kept in standing.remembered.items():
            if wrong := self.rule.wrong_in(kept):
                what = f"what {self.rule.name} remembers of {name}"
                raise FormatError("Engine.load_state_dict", expected=what, got=wrong)
        return standing

    def _check_topologies(self) -> None:
        """Refuse to go on with connections that are not those of the state that was loaded."""
        expected, self._expected = self._expected, None
        if expected is None or expected == (found := self._digests()):
            return
        self._expected = expected
        differ = sorted(name for name in found | expected if found.get(name) != expected.get(name))
        raise ConfigError(
            "optimizer.step after a resume",
            expected="the connections with which the engine's state was saved",
            got=f"others in {', '.join(differ)}",
            hint="load the model's state of the same checkpoint as well",
        )

    def _digests(self) -> dict[str, str]:
        return {name: digest(layer.topology.positions) for name, layer in self.layers.items()}

    def _settings(self) -> dict[str, Any]:
        """Plain data, so that a rule whose settings cannot be saved is refused when it is attached."""
        return {
            "rule": to_plain(describe(self.rule), "rule"),
            "total_steps": self.total_steps,
            "seed": self.seed,
            "layers": list(self.layers),
            "outputs": sorted(self.outputs),
            "ranks": self.ranks.count,
        }


def _digests_of(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule remembers of a layer, to be compared between ranks."""
    return {name: digest(value) if isinstance(value, Tensor) else value for name, value in remembered.items()}
