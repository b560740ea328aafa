"""Optimizers of dense layers that sparse ones replace: they go on with the new parameters, or somebody is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.compress.scores.base import parameter_of
from gossamer.errors import ConfigError, TrainingWarning
from gossamer.nn import SparseModule
from gossamer.nn.resize import living_one
from gossamer.training.optimizers import following_state, refuse_flattened_state


def checked_optimizers(given: Any, operation: str) -> tuple[Optimizer, ...]:
    """The optimizers of an argument; raises ConfigError for anything else."""
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    for each in found:
        if not isinstance(each, Optimizer):
            raise ConfigError(
                f"{operation}(optimizers=)",
                expected="a list of torch.optim.Optimizer",
                got=type(each).__name__,
            )
    return found


def check_rebinding(
    layers: Mapping[str, Any], optimizers: Iterable[Optimizer], operation: str, also: str = ""
) -> None:
    """Refuse optimizers whose state of these dense layers cannot be carried over, and warn of those left behind.

    Args:
        layers: name -> dense layer that is about to be replaced.
        optimizers: those that were given.
        operation: str - named in the warning.
        also: str - what else can be done, for the warning.
    Raises:
        StateError: state that does not follow the shape of a parameter.
    Cost: a walk over the objects of the process.
    """
    given = tuple(optimizers)
    for optimizer in given:
        refuse_flattened_state(optimizer)
        for name, layer in layers.items():
            following_state(optimizer, parameter_of(layer), name)
    names = {
        id(parameter): name for name, layer in layers.items() for parameter in layer.parameters(recurse=False)
    }
    known = {id(optimizer) for optimizer in given}

    def left(found: Optimizer) -> bool:
        return id(found) not in known and any(
            id(parameter) in names for group in found.param_groups for parameter in group["params"]
        )

    if found := living_one(Optimizer, left):
        held = [names[id(p)] for group in found.param_groups for p in group["params"] if id(p) in names]
        warnings.warn(
            f"{operation}: a {type(found).__name__} holds the parameters of {held[0]}, which is replaced, and will not "
            f"train the new ones: make an optimizer afterwards{also}",
            TrainingWarning,
            stacklevel=5,
        )


def rebind(optimizers: Iterable[Optimizer], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Put the parameters of sparse layers in the places of dense ones', with the state of what stayed.

    Args:
        optimizers: of the dense layers.
        pairs: (dense layer, SparseModule that took its place).
    Cost: O(dense size) for each state of a weight.
    """
    for old, new in pairs:
        for optimizer in optimizers:
            _replace(optimizer, parameter_of(old), new.weights, partial(_carried, new))
            if old.bias is not None:
                _replace(optimizer, old.bias, new.bias, lambda state: state)


def _carried(new: SparseModule, state: Tensor) -> Tensor:
    """State of a dense weight as one of the sparse layer's."""
    kept = new.pattern.pack(new.to_matrix(state).cpu(), new.topology.positions, new.grid)
    filled = torch.zeros_like(new.weights, dtype=state.dtype)
    new.place(filled, kept.view(-1, new.grid.members))
    return filled


def _replace(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, carried: Callable[[Tensor], Tensor]
) -> None:
    """One parameter, with its state."""
    if old is new or not any(p is old for group in optimizer.param_groups for p in group["params"]):
        return
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    if old in optimizer.state:
        state = optimizer.state.pop(old)
        optimizer.state[new] = {
            key: carried(value) if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in state.items()
        }
