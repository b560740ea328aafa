"""Optimizers by name, for settings that are plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gossamer.registry import check_choice
from gossamer.training.sgdw import SGDW

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "sgdw": SGDW,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
_MOMENTUM = {"sgd": 0.9, "sgdw": 0.9, "rmsprop": 0.0}  # of the optimizers that take one, where none is given


def named_optimizer(
    name: str,
    parameters: Iterable[Tensor],
    *,
    lr: float,
    momentum: float | None = None,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """An optimizer by its short name.

    Args:
        name: "sgd", "sgdw", "adam", "adamw" or "rmsprop".
        parameters: tensors - what it moves.
        lr: float > 0.
        momentum: float in [0, 1) or None - of sgd, sgdw and rmsprop; None is 0.9, and 0 for rmsprop.
        nesterov: bool - sgd only.
        weight_decay: float >= 0 - acts on existing connections only.
    Returns:
        torch.optim.Optimizer.
    Raises:
        ConfigError: another name.
    Cost: O(1).
    Example:
        >>> named_optimizer("sgd", [torch.zeros(1)], lr=0.1).param_groups[0]["momentum"]
        0.9
    """
    check_choice("optimizer", name, OPTIMIZERS)
    settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    if name in _MOMENTUM:
        settings["momentum"] = _MOMENTUM[name] if momentum is None else momentum
    if name == "sgd":
        settings["nesterov"] = nesterov
    return OPTIMIZERS[name](list(parameters), **settings)
