"""From a configuration to the objects of a training: data, model, optimizer, engine, learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, prod
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import data, rules
from gossamer.errors import ConfigError
from gossamer.nn.perceptron import ACTIVATIONS, as_torch, perceptron
from gossamer.patterns.base import parse
from gossamer.runs.config import DENSE, OptimizerConfig, RunConfig, ScheduleConfig
from gossamer.topology import erdos_renyi
from gossamer.training import Engine, attach, named_optimizer

DEFAULT_RULE = {"name": "srigl"}


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set ready for training.

    Args:
        name: str.
        shape: tuple of int - of one sample as stored.
        classes: int.
        sha256: str - of its content.
        x_train, y_train, x_test, y_test: tensors; samples are flat and standardized.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    sha256: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def describe(self) -> dict[str, Any]:
        """What a run folder keeps of it, ready for JSON."""
        return {"name": self.name, "shape": list(self.shape), "classes": self.classes, "sha256": self.sha256}


def load_samples(name: str, root: str | None = None) -> Samples:
    """Load a data set by name, or the best one at hand for "best".

    Raises:
        ConfigError, DataError, FormatError: as ``gossamer.data.load``.

    Example:
        >>> load_samples("digits").x_train.shape
        torch.Size([1442, 64])
    """
    found = data.best_available(root) if name == "best" else data.load(name, root)
    tensors = found.tensors(flatten=True, standardize=True)
    return Samples(found.name, found.shape, len(found.classes), found.provenance.sha256, *tensors)


def build_model(config: RunConfig, inputs: int, classes: int) -> nn.Module:
    """The network of a configuration: fc1, fc2, ... with activations between, sparse unless the pattern is "dense".

    Args:
        config: RunConfig - widths, activations, pattern, densities, initial law, home, seed.
        inputs: int - features of a sample.
        classes: int - outputs.

    Returns:
        nn.Module - the same values and topology for the same configuration, whatever was drawn before.

    Raises:
        ConfigError, DensityError, PatternError. MemoryShortage: layers that stay dense, or masked ones, do not fit.
    Cost: O(connections); nothing is dense that does not stay so.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> build_model(RunConfig(widths=(32,), density=0.5, allocation="uniform"), 64, 10).fc1
        SparseLinear(64 -> 32, pattern=fanin, connections=1,024, home=packed)
    """
    sizes = [inputs, *config.widths, classes]
    slope = config.all_relu
    bend = ACTIVATIONS["relu" if slope is None else "all_relu"]
    return perceptron(
        sizes,
        lambda number: bend(number, slope or 0.0),
        config.dropout,
        config.seed,
        _zeros(config, sizes),
        as_torch,
    )


def _zeros(config: RunConfig, sizes: list[int]) -> dict[str, Any] | None:
    """The arguments of sparsify, or None for a dense network; raises ConfigError where both are asked for."""
    if config.pattern == DENSE:
        settings = (config.density, config.epsilon, config.allocation, config.rule)
        if any(setting is not None for setting in settings):
            raise ConfigError(
                "pattern dense", expected="no density, epsilon, allocation or rule", got="one of them"
            )
        return None
    return {
        "density": _densities(config, sizes),
        "pattern": parse(config.pattern),
        "allocation": config.allocation,
        "home": config.home,
        "dense_last": config.dense_last,
        "init": config.init,
        "law": config.law,
    }


def _densities(config: RunConfig, sizes: list[int]) -> float | dict[str, float] | None:
    """What is said of density, in words that sparsify knows."""
    if config.epsilon is None:
        return config.density
    shapes = {f"fc{n}": (n_out, n_in) for n, (n_in, n_out) in enumerate(pairwise(sizes), start=1)}
    if config.dense_last:
        shapes.popitem()
    return erdos_renyi(shapes, config.epsilon)


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a configuration over all parameters of a model.

    Example:
        >>> from gossamer.runs.config import OptimizerConfig
        >>> type(build_optimizer(OptimizerConfig(name="adam", lr=1e-3), nn.Linear(2, 2))).__name__
        'Adam'
    """
    return named_optimizer(
        config.name,
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def build_engine(
    config: RunConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    total: int,
    *,
    in_step: bool = False,
) -> Engine | None:
    """The engine that makes the rule update the topology, or None for a dense model.

    Args:
        config: RunConfig.
        model: nn.Module.
        optimizer: Optimizer - of the model.
        total: int - steps of the whole training.
        in_step: bool - whether the ranks of torch.distributed train the model together.

    Raises:
        ConfigError, PatternError.
    """
    if config.pattern == DENSE:
        return None
    rule = build_rule(config)
    return attach(model, optimizer, rule, total_steps=total, seed=config.seed, in_step=in_step)


def build_rule(config: RunConfig) -> rules.Rule:
    """The rule of a configuration of a sparse network; raises ConfigError.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> build_rule(RunConfig(rule={"name": "rigl", "every": 50})).every
        50
    """
    wanted = config.rule or {}
    try:
        return rules.build(DEFAULT_RULE | wanted)
    except ConfigError as error:
        if "name" in wanted:
            raise
        raise error.within(f"the rule, which is {DEFAULT_RULE['name']} where none is named") from None


def learning_rate(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, step: int, total: int, per_epoch: int
) -> float:
    """Learning rate of a step: a function of the step alone, so that resuming needs no state.

    Args:
        optimizer: OptimizerConfig - the highest rate.
        schedule: ScheduleConfig - its course.
        step: int - optimizer steps already done.
        total: int - steps of the whole training.
        per_epoch: int - steps of an epoch.

    Returns:
        float.

    Example:
        >>> from gossamer.runs.config import OptimizerConfig, ScheduleConfig
        >>> learning_rate(OptimizerConfig(lr=0.2), ScheduleConfig(name="cosine"), 50, 100, 10)
        0.1
    """
    factor = 1.0
    if schedule.name == "cosine":
        done = max(0, step - schedule.warmup) / max(1, total - schedule.warmup)
        factor = 0.5 * (1 + cos(pi * done))
    elif schedule.name == "step":
        factor = prod(schedule.factor for milestone in schedule.milestones if step >= milestone * per_epoch)
    return optimizer.lr * factor * min(1.0, (step + 1) / (schedule.warmup + 1))
