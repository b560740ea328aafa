"""A model run on data and left as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gossamer.nn import SparseModule


@contextmanager
def untouched(model: nn.Module, train: bool, parameters: Iterable[nn.Parameter] = ()) -> Iterator[None]:
    """Run a model in one mode and leave it as it was: modes, buffers, gradients, random numbers.

    Args:
        model: nn.Module.
        train: bool - the mode; batch norm then takes the statistics of the batch.
        parameters: those that need gradients meanwhile.
    Cost: a copy of the buffers.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in _written(model)]
    needed = {parameter: parameter.requires_grad for parameter in parameters}
    try:
        model.train(train)
        for parameter in needed:
            parameter.requires_grad_(True)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in needed.items():
            parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)


def _written(model: nn.Module) -> Iterator[Tensor]:
    """Buffers that a pass may write to: no index of a sparse layer."""
    for module in model.modules():
        if not isinstance(module, SparseModule):
            yield from module.buffers(recurse=False)
