"""A model in another order that computes the same: searched on a copy, tried there, and only then taken."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.compress.permuting.arranging import arranged
from gossamer.compress.permuting.exchange import INPUTS, OUTPUTS, Moves, slots
from gossamer.compress.states import states_of_weights
from gossamer.compress.structured.followed import follow
from gossamer.compress.structured.trial import drawn, result_of
from gossamer.errors import StateError
from gossamer.nn.candidates import refuse_tied
from gossamer.trace.agreement import same
from gossamer.trace.held import BORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.optim import Optimizer

    from gossamer.compress.permuting.demand import Demand
    from gossamer.compress.structured.members import Followed

NAME = "prune(permute=)"


@dataclass(frozen=True)
class Reordered:
    """A model that was reordered.

    Args:
        model: nn.Module.
        moves: Moves.
        states: id of a parameter -> what followed it.
        notes: name of a layer -> what its order is now worth, or why it stayed.
    """

    model: nn.Module
    moves: Moves
    states: Mapping[int, Iterable[Tensor]]
    notes: dict[str, str]

    def undo(self) -> None:
        """Put everything back, to the bit."""
        self.moves.inverse().apply(self.model, self.states)


def reorder(
    model: nn.Module, example: Any, demands: Mapping[str, Demand], optimizers: Iterable[Optimizer] = ()
) -> Reordered:
    """Reorder channels so that patterns keep more; the network computes the same, up to the order of sums.

    Args:
        model: nn.Module on the CPU - changed in place; parameters and buffers stay the same objects.
        example: an input of the model, as ``freeze`` takes it.
        demands: name -> Demand of a layer that is to be pruned.
        optimizers: every Optimizer that holds state of its parameters; the state is reordered as they are.
    Returns:
        Reordered.
    Raises:
        ConfigError: a model that cannot be followed. PatternError: tied weights. StateError: an optimizer that was not
        given, or a network that would compute something else. Nothing is changed then.
    Cost: three copies of the model, eight passes, and the search.
    """
    followed = follow(NAME, model, example, lambda _: {}, loose=(BORDER,))
    before = {name: each.kept() for name, each in demands.items()}
    moves = arranged(followed, demands, torch.Generator().manual_seed(0))
    moved = moves.moved
    refuse_tied(model, {name: model.get_submodule(name) for name in moved}, NAME)
    _refuse_another(followed, moves)
    states = _states(model, moved, optimizers)
    moves.apply(model, states)
    notes = {name: _note(name, each, before[name], followed, moved) for name, each in demands.items()}
    return Reordered(model, moves, states, notes)


def _refuse_another(followed: Followed, moves: Moves) -> None:
    """Refuse an order that changes what the network computes, for the example and for random numbers."""
    other = copy.deepcopy(followed.twin)
    moves.apply(other)
    values = followed.example.values
    with torch.no_grad():
        for given in (values, drawn(values)):
            expected, got = (result_of(each, followed, given) for each in (followed.twin, other))
            alike = same(expected, got) if isinstance(expected, Tensor) else type(expected) is type(got)
            if not alike:
                raise StateError(
                    NAME,
                    expected="a network that computes the same when its channels are reordered",
                    got="one that does not",
                    hint="numbers of channels may be written in its forward: leave permute= out",
                )


def _states(
    model: nn.Module, moved: Mapping[str, dict[int, Tensor]], optimizers: Iterable[Optimizer]
) -> dict[int, list[Tensor]]:
    """Id of every parameter that is reordered -> its gradient and the state of it."""
    held = {id(each) for name, dims in moved.items() for each, _ in slots(model.get_submodule(name), dims)}
    parameters = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in held}
    states = states_of_weights(parameters, optimizers, NAME, "pass optimizers=[optimizer]")
    return {id(parameter): states[name] for name, parameter in parameters.items()}


def _note(
    name: str, demand: Demand, before: float, followed: Followed, moved: Mapping[str, dict[int, Tensor]]
) -> str:
    """What became of a layer."""
    total, after = float(demand.scores.sum()), demand.kept()
    if total > 0 and after != before:
        most = demand.bound() / total
        return f"reordered: {after / total:.1%} of the scores are kept, {before / total:.1%} before, {most:.1%} at most"
    if moved.get(name, {}).keys() & demand.dims:
        return "reordered"
    return f"order kept: {_why(name, demand, followed)}"


def _why(name: str, demand: Demand, followed: Followed) -> str:
    member = followed.layers.get(name)
    if member is None:
        return "it was not followed"
    if OUTPUTS in demand.dims and name in followed.why:
        return followed.why[name]
    if INPUTS in demand.dims and (member.inputs < 0).all():
        return "what it reads is not followed to the layers that compute it"
    return "no other one is better"
