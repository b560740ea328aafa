"""A copy of a model that shares nothing with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator


def copied(operation: str, model: nn.Module) -> nn.Module:
    """A deep copy; of tensors that torch computed from parameters, the numbers.

    Args:
        operation: str - named in errors.
        model: nn.Module.

    Raises:
        StateError: a model that cannot be copied, or whose copy shares modules with it.

    Cost: one copy of the model.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> copied("freeze", model).weight is model.weight
        False
    """
    # torch copies no tensor that has a history; its number does here
    computed = {id(tensor): tensor.detach().clone() for tensor in _kept(model) if not tensor.is_leaf}
    try:
        with torch.no_grad():  # TorchScript's copies of parameters would have a history
            twin = copy.deepcopy(model, computed)
    except (RuntimeError, TypeError, AttributeError, ValueError, NotImplementedError) as error:
        raise StateError(
            operation,
            expected="a model that can be copied",
            got=f"{type(error).__name__}: {error}",
            hint="take out of the model what copy.deepcopy does not copy",
        ) from error
    if not set(model.modules()).isdisjoint(twin.modules()):
        raise StateError(
            operation,
            expected="a model whose copy is its own",
            got="a copy that shares modules with it",
            hint="a module's __deepcopy__ must return a new module",
        )
    return twin


def _kept(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that modules keep beside parameters and buffers, as far as lists, tuples and dicts go."""

    def inside(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            for each in value.values():
                yield from inside(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                yield from inside(each)

    for module in model.modules():
        yield from inside({name: value for name, value in vars(module).items() if name != "_modules"})
