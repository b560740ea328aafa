"""A plain training loop for the accuracy benchmarks, and what they measure on the trained network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data
from gossamer.data.batches import batches, epoch_generator
from gossamer.rules import Rule

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def mnist() -> Data:
    """MNIST scaled to [0, 1], as RigL's script does: a border pixel is 0 and gets no gradient."""
    x_train, y_train, x_test, y_test = data.load("mnist").tensors(standardize=False)
    return x_train / 255, y_train, x_test / 255, y_test


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU in between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum and a step schedule of the learning rate."""

    epochs: int
    batch: int = 100
    lr: float = 0.2
    divide_at: tuple[int, ...] = ()
    divisor: float = 3.0
    weight_decay: float = 1e-4


@torch.no_grad()
def test_error(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of test samples classified wrongly."""
    wrong = sum(
        int((model(part).argmax(1) != label).sum())
        for part, label in zip(x.split(1000), y.split(1000), strict=True)
    )
    return 100.0 * wrong / len(y)


def train(
    model: nn.Module,
    samples: Data,
    recipe: Recipe,
    rule: Rule | None,
    seed: int,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train and return the test error of every epoch, the wall time, and the engine's history."""
    x_train, y_train, x_test, y_test = samples
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.divide_at), 1 / recipe.divisor)
    steps = recipe.epochs * (len(x_train) // recipe.batch)
    engine = gs.attach(model, optimizer, rule, total_steps=steps, seed=seed) if rule else None
    errors, began = [], time.perf_counter()
    for epoch in range(recipe.epochs):
        for x, y in _epoch(x_train, y_train, recipe.batch, seed, epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        schedule.step()
        errors.append(test_error(model, x_test, y_test))
        if epoch % 10 == 9 or epoch == recipe.epochs - 1:
            say(f"  epoch {epoch + 1:3d}  error {errors[-1]:.2f} %  best {min(errors):.2f} %")
    seconds = time.perf_counter() - began
    return {
        "test_error_end": errors[-1],
        "test_error_best": min(errors),
        "test_error": errors,
        "seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds, 1),
        "updates": len({row.step for row in engine.history}) if engine else 0,
    }


def _epoch(x: Tensor, y: Tensor, batch: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return batches(x, y, batch, epoch_generator(seed, epoch), drop_last=True)
