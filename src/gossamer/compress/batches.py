"""Data that pruning looks at: a few batches, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, DataError, NonFiniteError


def batches_of(data: Any, operation: str) -> list[Any]:
    """The batches of a data loader, a list or one tensor, all held in memory.

    Args:
        data: iterable of batches, or one batch as a tensor or a mapping; a batch is an input, a pair (inputs, targets),
            or a mapping of keyword arguments.
        operation: str - named in errors, e.g. "prune(data=)".
    Returns:
        list of batches, as they were given.
    Raises:
        ConfigError: nothing that can be iterated, or batches without tensors.
        DataError: no batch at all, or an empty one.
        NonFiniteError: NaN or infinity.
    Cost: O(data).
    Example:
        >>> len(batches_of([torch.zeros(4, 2), torch.ones(4, 2)], "prune(data=)"))
        2
    """
    if isinstance(data, (Tensor, Mapping)):
        data = [data]
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise ConfigError(
            operation, expected="batches of inputs, or of (inputs, targets)", got=type(data).__name__
        )
    found = list(data)
    if not found:
        raise DataError(operation, expected="at least one batch", got="none")
    for number, batch in enumerate(found):
        tensors = list(_tensors(batch))
        if not tensors:
            raise ConfigError(f"{operation} batch {number}", expected="tensors", got=type(batch).__name__)
        for tensor in tensors:
            if tensor.numel() == 0:
                raise DataError(
                    f"{operation} batch {number}", expected="samples", got=f"shape {tuple(tensor.shape)}"
                )
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(
                    f"{operation} batch {number}", expected="finite numbers", got="NaN or infinity"
                )
    return found


def inputs_of(batch: Any) -> Any:
    """What goes into the model: the batch, or the first of a pair."""
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def run(model: nn.Module, batch: Any) -> Any:
    """What a model says of a batch: of a mapping as keyword arguments, else of its inputs."""
    return model(**batch) if isinstance(batch, Mapping) else model(inputs_of(batch))


def pair_of(batch: Any, operation: str) -> tuple[Any, Any]:
    """Inputs and targets; raises ConfigError where a batch has no targets."""
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
        raise ConfigError(
            operation,
            expected="pairs (inputs, targets)",
            got=f"{type(batch).__name__} of {len(batch)}"
            if hasattr(batch, "__len__")
            else type(batch).__name__,
            hint="this score needs the loss; magnitude, random and lamp need no data",
        )
    return batch[0], batch[1]


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of a batch, in lists and dictionaries too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)
