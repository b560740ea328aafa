"""The registry of networks: a function a network, found by its name and called with its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from gossamer.errors import ConfigError
from gossamer.measure import require_memory
from gossamer.models.room import Counting
from gossamer.registry import Registry, check_names

Build = Callable[..., nn.Module]
Function = TypeVar("Function", bound=Build)
GIVEN = ("channels", "classes")  # what the data set says, and no setting
models: Registry[Build] = Registry("model", package="gossamer.models", group="gossamer.models")


def register(name: str) -> Callable[[Function], Function]:
    """Add a network: decorate a function that builds it.

    Args:
        name: str - in small letters, with hyphens between words.

    Returns:
        decorator - for a function of keyword arguments ``channels`` (int), ``classes`` (int) and settings that have
        defaults; it returns an nn.Module on ``[batch, channels, height, width]`` whose values come from torch's
        generator.

    Raises:
        ConfigError: the name is taken.

    Example:
        >>> @register("linear-on-pixels")
        ... def pixels(*, channels: int, classes: int, side: int = 8) -> nn.Module:
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, classes))
        >>> build({"name": "linear-on-pixels", "side": 4}, channels=1, classes=2)[1].in_features
        16
        >>> models.remove("linear-on-pixels")
    """

    def decorate(function: Function) -> Function:
        models.add(name, function)
        return function

    return decorate


def build(config: Mapping[str, Any], *, channels: int, classes: int) -> nn.Module:
    """A network from its name and settings.

    Args:
        config: dict - ``name`` and the network's settings.
        channels: int - of an image.
        classes: int - outputs.

    Returns:
        nn.Module - float32; values drawn from torch's generator.

    Raises:
        ConfigError: unknown name or setting, or a value out of range. MemoryShortage: it does not fit into memory;
            nothing is built then.

    Cost: the dense network. The function is called twice: the first time large tensors are counted and not made.

    Example:
        >>> build({"name": "resnet20", "width": 0.5}, channels=3, classes=10).conv1.out_channels
        8
    """
    function, settings = _of(config)
    what = f"model {config['name']}"
    for name, number in (("channels", channels), ("classes", classes)):
        if not isinstance(number, int) or number < 1:
            raise ConfigError(what, expected=f"{name} of at least 1", got=repr(number))
    with torch.random.fork_rng(devices=[]), Counting() as counted:
        function(channels=channels, classes=classes, **settings)
    require_memory(what, counted.bytes, "fewer channels or classes, or a smaller width, need less")
    return function(channels=channels, classes=classes, **settings)


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same name with every setting decided, ready for JSON.

    Args:
        config: dict - ``name`` and settings.

    Returns:
        dict.

    Raises:
        ConfigError: unknown name or setting.

    Example:
        >>> describe({"name": "wrn-22-2"})
        {'name': 'wrn-22-2', 'width': 1.0, 'dropout': 0.3}
    """
    function, settings = _of(config)
    return {"name": config["name"], **_defaults(function), **settings}


def scaled(planes: int, width: float) -> int:
    """Channels of a layer in a network that is ``width`` times as wide; raises ConfigError out of range.

    Args:
        planes: int - channels as published.
        width: float in [1/64, 64].

    Example:
        >>> scaled(64, 0.26)
        17
    """
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if not (number and 1 / 64 <= width <= 64):
        raise ConfigError("width of a model", expected="a number from 1/64 to 64", got=repr(width))
    return max(1, round(planes * width))


def _of(config: Mapping[str, Any]) -> tuple[Build, dict[str, Any]]:
    """The function, and the settings it is called with."""
    if not isinstance(config, Mapping):
        raise ConfigError(
            "model",
            expected="a dict with its name and settings",
            got=repr(config),
            hint='{"name": "resnet20"}',
        )
    settings = dict(config)
    name = str(settings.pop("name", ""))
    function = models[name]
    check_names(f"settings of model {name}", sorted(settings), "some", _defaults(function))
    return function, settings


def _defaults(function: Build) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name not in GIVEN}
