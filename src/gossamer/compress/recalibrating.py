"""Batch norm's statistics after pruning: what flows through the network is no longer what they were made from."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from gossamer.compress.batches import batches_of, run
from gossamer.errors import ConfigError, NonFiniteError


def recalibrate(model: nn.Module, data: Any) -> int:
    """Make the running statistics of every batch norm anew, as means over all batches; no labels are needed.

    Worth tens of points after a one-shot prune. Take the augmentation of the training: plain images move them.
    The model runs in training mode meanwhile, dropout included, and is as before afterwards.

    Args:
        model: nn.Module - its batch norms are changed.
        data: batches of inputs, or of pairs whose first is the input.
    Returns:
        int - norms that were recalibrated.
    Raises:
        ConfigError, DataError, NonFiniteError. After an error of the model itself the statistics are as they were.
    Cost: a forward pass a batch; the batches are held in memory.
    Source: `torch.optim.swa_utils.update_bn`.
    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> recalibrate(model, [torch.randn(8, 2), torch.randn(8, 2)])
        1
    """
    batches = batches_of(data, "recalibrate(data=)")
    norms = refuse_without_norms(model, "recalibrate")
    kept = [(norm, norm.momentum, copy.deepcopy(norm._buffers)) for norm in norms.values()]  # noqa: SLF001 (held apart)
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            update_bn(([batch] for batch in batches), _Called(model))
        _refuse_non_finite(norms)
    except BaseException:
        for norm, momentum, buffers in kept:
            norm.momentum = momentum
            norm.load_state_dict(cast("dict[str, Tensor]", buffers), strict=False)
        raise
    finally:
        for module, mode in modes.items():
            module.training = mode
    return len(norms)


class _Called(nn.Module):
    """A model that takes a batch as it was given, whatever that is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        """What the model says of it."""
        return run(self.model, batch)


def refuse_without_norms(model: nn.Module, operation: str) -> dict[str, _BatchNorm]:
    """The batch norms of a model that keep statistics, by name; raises ConfigError where there are none."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    norms = {name: norm for name, norm in found.items() if norm.running_mean is not None}
    if not norms:
        raise ConfigError(operation, expected="batch norms with running statistics", got="none")
    return norms


def _refuse_non_finite(norms: dict[str, _BatchNorm]) -> None:
    """Refuse statistics that are no numbers; raises NonFiniteError with the name of the norm."""
    for name, norm in norms.items():
        for buffer in (norm.running_mean, norm.running_var):
            if buffer is not None and not bool(buffer.isfinite().all()):
                raise NonFiniteError(
                    f"recalibrate {name}", expected="finite statistics", got="NaN or infinity"
                )
