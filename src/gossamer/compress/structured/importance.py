"""What a unit of channels is worth: its weights, the scales of its norms, or what the loss would lose with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.compress.structured.calibration import backward
from gossamer.errors import ConfigError, NonFiniteError
from gossamer.trace.tensors import array_of

if TYPE_CHECKING:
    from gossamer.compress.scores.base import Loss
    from gossamer.compress.structured.members import Followed
    from gossamer.layouts.arrays import Array

NAME = "prune_channels"
Value = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """What a score may look at: batches, (outputs, targets) -> loss, and a generator."""

    batches: list[Any] = field(default_factory=list)
    loss: Loss = F.cross_entropy
    generator: torch.Generator | None = None


def _summed(followed: Followed, value: Value) -> Array:
    """[units], float64: the sum of a value of each weight that goes with a unit: rows, columns, scales of norms."""
    total = np.zeros(followed.units)
    for name, member in followed.members.items():
        weight = member.module.weight if member.moves else None
        if not isinstance(weight, Tensor):
            continue  # a norm without scales, or nothing that could go
        each = value(weight).double()
        with np.errstate(invalid="ignore", over="ignore"):
            _add(total, member.outputs, each.flatten(1).sum(1) if each.dim() > 1 else each)
            if member.inputs.size:
                _add(total, member.inputs, each.movedim(1, 0).flatten(1).sum(1))
        if not np.isfinite(total).all():
            raise NonFiniteError(
                "prune_channels", expected="finite weights and gradients", got=f"others in {name}"
            )
    return total


def _add(total: Array, units: Array, values: Tensor) -> None:
    goes = units >= 0
    if goes.any():
        np.add.at(total, units[goes], array_of(values)[goes])


def magnitude(followed: Followed, _task: Task) -> Array:
    """The L2 norm of all weights that go with a unit."""
    norm: Array = np.sqrt(_summed(followed, torch.square))
    return norm


def batch_norm(followed: Followed, _task: Task) -> Array:
    """The mean absolute scale of a unit's batch norms; infinite where it has none, so that it stays."""
    total, count = np.zeros(followed.units), np.zeros(followed.units)
    for member in followed.norms.values():
        if isinstance(scale := member.module.weight, Tensor):
            _add(total, member.outputs, scale.abs().double())
            _add(count, member.outputs, torch.ones(scale.numel(), dtype=torch.float64))
    scored: Array = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    return scored


def taylor(followed: Followed, task: Task) -> Array:
    """The sum of ``|gradient * weight|`` over all weights that go with a unit, gradients summed over the batches."""
    if not task.batches:
        raise ConfigError(f"{NAME}(score='taylor')", expected="data=, pairs (inputs, targets)", got="None")
    held = [member.module.weight for member in followed.members.values() if member.moves]
    weights = [weight for weight in held if isinstance(weight, nn.Parameter)]
    try:
        for weight in weights:
            weight.requires_grad_()
        backward(NAME, followed.twin, task.batches, task.loss)
        products = {
            id(w): torch.zeros_like(w) if w.grad is None else (w * w.grad).detach().abs() for w in weights
        }
    finally:
        for weight in weights:
            weight.requires_grad, weight.grad = False, None
    return _summed(followed, lambda weight: products[id(weight)])


def random(followed: Followed, task: Task) -> Array:
    """Drawn: what every other score has to beat."""
    return array_of(torch.rand(followed.units, generator=task.generator, dtype=torch.float64))


Score = Callable[["Followed", Task], "Array"]
SCORES: Final[dict[str, Score]] = {
    "magnitude": magnitude,
    "batch_norm": batch_norm,
    "taylor": taylor,
    "random": random,
}


def scores_of(name: str, followed: Followed, task: Task) -> Array:
    """[units], float64: what each is worth, divided by the mean of its group."""
    found = SCORES[name](followed, task)
    for group in followed.groups:
        mean = found[group].mean()
        if 0 < mean < np.inf:
            found[group] /= mean
    return found
