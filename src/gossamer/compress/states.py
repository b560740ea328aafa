"""Optimizer state of layers that lose connections: all of it follows them, or nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import StateError
from gossamer.nn import SparseModule
from gossamer.nn.resize import living_one
from gossamer.training.optimizers import following_state, refuse_flattened_state


def states_of(
    layers: Mapping[str, SparseModule], optimizers: Iterable[Optimizer], operation: str, call: str
) -> dict[str, list[Tensor]]:
    """Name -> gradient and optimizer state of the shape of a layer's weights.

    Args:
        layers: name -> sparse layer.
        optimizers: every Optimizer that holds state of their weights.
        operation: str - named in errors.
        call: str - how optimizers are given to it, for a hint.
    Returns:
        name -> list of Tensor.
    Raises:
        StateError: an optimizer that was not given, or whose state does not follow the shape of its parameters.
    Cost: a walk over the objects of the process.
    """
    return states_of_weights(
        {name: layer.weights for name, layer in layers.items()}, optimizers, operation, call
    )


def states_of_weights(
    weights: Mapping[str, Tensor], optimizers: Iterable[Optimizer], operation: str, call: str
) -> dict[str, list[Tensor]]:
    """The same of parameters by name."""
    given = tuple(optimizers)
    for optimizer in given:
        refuse_flattened_state(optimizer)
    if not weights:
        return {}
    _refuse_forgotten(weights, given, operation, call)
    states = {}
    for name, weight in weights.items():
        gradient = [] if weight.grad is None else [weight.grad]
        found = [following_state(optimizer, weight, name) for optimizer in given]
        each = [*gradient, *(state for states in found for state in states)]
        states[name] = list({id(tensor): tensor for tensor in each}.values())
    return states


def _refuse_forgotten(
    weights: Mapping[str, Tensor], given: tuple[Optimizer, ...], operation: str, call: str
) -> None:
    """Refuse optimizers with state of these weights that were not given: the state would be of other connections."""
    sought = {id(weight) for weight in weights.values()}
    given_ids = {id(one) for one in given}

    def forgotten(found: Optimizer) -> bool:
        mine = any(state and id(parameter) in sought for parameter, state in found.state.items())
        return mine and id(found) not in given_ids

    if found := living_one(Optimizer, forgotten):
        raise StateError(
            operation,
            expected="every optimizer that has state of the layers",
            got=f"a {type(found).__name__} that was not given",
            hint=call,
        )
