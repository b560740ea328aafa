"""From a configuration to the objects of a training: model, optimizer, engine, learning rate."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, prod
from typing import Any

import torch
from torch import nn

from gossamer import models, rules
from gossamer.errors import ConfigError
from gossamer.nn import sparsify
from gossamer.nn.perceptron import ACTIVATIONS, as_torch, perceptron
from gossamer.patterns.base import parse
from gossamer.runs.config import DENSE, OptimizerConfig, RunConfig, ScheduleConfig
from gossamer.topology import erdos_renyi
from gossamer.training import Engine, join, named_optimizer

DEFAULT_RULE = {"name": "srigl"}


def build_model(config: RunConfig, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of a configuration, sparse unless the pattern is "dense".

    Args:
        config: RunConfig - model or widths and activations; pattern, densities, initial law, home, seed.
        shape: tuple of int - of a sample as stored: channels last.
        classes: int - outputs.

    Returns:
        nn.Module - the same values and topology for the same configuration, whatever was drawn before. A perceptron
        reads flat samples, and its layers are called fc1, fc2, ...; all others read images [channels, height, width].

    Raises:
        ConfigError, DensityError, PatternError. MemoryShortage: layers that stay dense, or masked ones, do not fit.
    Cost: of a perceptron O(connections); of another model, the dense one.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> build_model(RunConfig(widths=(32,), density=0.5, allocation="uniform"), (8, 8), 10).fc1
        SparseLinear(64 -> 32, pattern=fanin, connections=1,024, home=packed)
    """
    if config.model is not None:
        return _named(config, sample_shape(config, shape)[0], classes)
    sizes = [prod(shape), *config.widths, classes]
    slope = config.all_relu
    bend = ACTIVATIONS["relu" if slope is None else "all_relu"]
    return perceptron(
        sizes,
        lambda number: bend(number, slope or 0.0),
        config.dropout,
        config.seed,
        _zeros(config, _densities(config, sizes)),
        as_torch,
    )


def sample_shape(config: RunConfig, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a sample as the model reads it; raises ConfigError where a network of images would read no images.

    Example:
        >>> from gossamer.runs.config import RunConfig
        >>> sample_shape(RunConfig(), (32, 32, 3)), sample_shape(RunConfig(model={"name": "resnet20"}), (32, 30, 3))
        ((3072,), (3, 32, 30))
    """
    if config.model is None:
        return (prod(shape),)
    if len(shape) not in (2, 3):
        raise ConfigError(
            f"model {config.model.get('name')}",
            expected="images [height, width] or [height, width, channels]",
            got=f"samples {list(shape)}",
            hint="leave the model out: a perceptron reads any samples",
        )
    height, width, channels = (*shape, 1)[:3]
    return (channels, height, width)


def _named(config: RunConfig, channels: int, classes: int) -> nn.Module:
    """A model of the registry."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = models.build(config.model or {}, channels=channels, classes=classes)
    zeros = _zeros(config, config.density)
    if zeros is not None:
        sparsify(model, generator=torch.Generator().manual_seed(config.seed), **zeros)
    return model


def _zeros(config: RunConfig, density: float | dict[str, float] | None) -> dict[str, Any] | None:
    """The arguments of sparsify, or None for a dense network; raises ConfigError where both are asked for."""
    if config.pattern == DENSE:
        settings = (config.density, config.epsilon, config.allocation, config.rule)
        if any(setting is not None for setting in settings):
            raise ConfigError(
                "pattern dense", expected="no density, epsilon, allocation or rule", got="one of them"
            )
        return None
    return {
        "density": density,
        "pattern": parse(config.pattern),
        "allocation": config.allocation,
        "home": config.home,
        "dense_first": config.dense_first,
        "dense_last": config.dense_last,
        "init": config.init,
        "law": config.law,
        "full": "sparse" if _may_be_full(config) else "dense",  # such a rule may start dense
    }


def _densities(config: RunConfig, sizes: list[int]) -> float | dict[str, float] | None:
    """What is said of density, in words that sparsify knows."""
    if config.epsilon is None:
        return config.density
    shapes = {f"fc{n}": (n_out, n_in) for n, (n_in, n_out) in enumerate(pairwise(sizes), start=1)}
    if config.dense_last:
        shapes.popitem()
    if config.dense_first:
        del shapes["fc1"]
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
    return join(model, optimizer, rule, total_steps=total, seed=config.seed, in_step=in_step)


def _may_be_full(config: RunConfig) -> bool:
    """Whether the rule takes connections from layers that have all of them.

    A rule that is not here is not asked, for a network is used without it.
    """
    name = (DEFAULT_RULE | (config.rule or {}))["name"]
    return name in rules.rules and (rules.rules[name].count == "shrinks" or rules.rules[name].from_full)


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
