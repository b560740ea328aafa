"""Whole residual blocks and transformer layers removed for good: what flows in is what flows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gossamer.compress.structured.followed import twin_of
from gossamer.compress.structured.likeness import measured
from gossamer.compress.structured.report import BlockReport
from gossamer.errors import ConfigError, NonFiniteError, StateError
from gossamer.nn.outside import follow, places
from gossamer.nn.resize import living_one
from gossamer.nn.swap import put_in_place
from gossamer.registry import answers_unknown, check_names
from gossamer.trace.calling import Example
from gossamer.trace.read import has_hooks
from gossamer.trace.trace import REFUSED

NAME = "remove_blocks"


@answers_unknown
def remove_blocks(
    model: nn.Module,
    example: Any,
    blocks: Iterable[str],
    count: int | None = None,
    *,
    data: Any = None,
    optimizers: Iterable[Optimizer] = (),
) -> BlockReport:
    """Replace blocks of a network by the identity for good: residual blocks, transformer layers.

    A block whose output points where its input does adds little: the mean cosine of the two says so. It is taken of
    each vector [features] of [batch, times, features], and of each whole sample of any other shape. Names of other
    modules stay. Train the network afterwards.

    Args:
        model: nn.Module on the CPU - changed in place.
        example: Tensor [batch, ...], a tuple of inputs, or a dict of named ones - how the model is called.
        blocks: names of modules that give a tensor of the shape that they read first.
        count: int - how many go, those with the highest cosine; of equals the first. None: all.
        data: batches to measure on: inputs, or pairs (inputs, targets); None is the example.
        optimizers: every Optimizer that holds parameters of the blocks; they are taken out of it.
    Returns:
        BlockReport - print it.
    Raises:
        ConfigError: unknown names, blocks inside of one another, or a count out of range. ShapeError: a block that
            changes the shape, or data that the model refuses. StateError: a block that carries hooks, an optimizer
            that was not given, or a model that fails without the blocks. Nothing is changed then.
    Cost: a copy of the model, and a pass for each batch.
    Source: ShortGPT (Men et al. 2024) for the measure.
    Example:
        >>> from gossamer import models
        >>> model = models.resnet20()
        >>> report = remove_blocks(model, torch.zeros(1, 3, 32, 32), ["layer3.1", "layer3.2"])
        >>> type(model.layer3[2]).__name__, report.parameters
        ('Identity', (269722, 121754))
    """
    twin = twin_of(NAME, model)
    names = list(dict.fromkeys([blocks] if isinstance(blocks, str) else blocks))
    modules = dict(model.named_modules())
    check_names(f"{NAME}(blocks=)", names, "modules", [name for name in modules if name])
    _check(names, count, modules)
    call = Example.of(twin, example)
    rows, identities = measured(NAME, twin, call, names, data)
    if wrong := [row.name for row in rows if not isfinite(row.similarity)]:
        raise NonFiniteError(
            f"{NAME} {', '.join(wrong)}", expected="finite inputs and outputs", got="NaN or infinity"
        )
    gone = sorted(rows, key=lambda row: -row.similarity)[:count]
    rows = [replace(row, removed=row in gone) for row in rows]
    swapped = {row.name: identities[row.name] for row in rows if row.removed}
    _try_out(twin, call, swapped)
    lost = _parameters_of(model, list(swapped))
    given = tuple(optimizers)
    _refuse_forgotten(lost, given)
    by_id: dict[int, nn.Module] = {id(modules[name]): new for name, new in swapped.items()}
    held = places(model, set(by_id), NAME)
    before = sum(parameter.numel() for parameter in model.parameters())
    for name, new in swapped.items():
        new.train(modules[name].training)
    follow(held, by_id)
    put_in_place(model, by_id)
    _leave(lost, given)
    return BlockReport(rows, (before, sum(parameter.numel() for parameter in model.parameters())))


def _check(names: list[str], count: Any, modules: Mapping[str, nn.Module]) -> None:
    """Refuse counts and blocks that cannot go."""
    if not names:
        raise ConfigError(f"{NAME}(blocks=)", expected="names of modules", got="none")
    wrong = isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= len(names)
    if count is not None and wrong:
        raise ConfigError(
            f"{NAME}(count=)", expected=f"a whole number from 1 to {len(names)}", got=repr(count)
        )
    for name in names:
        inside = [other for other in names if other.startswith(f"{name}.")]
        if inside or sum(modules[other] is modules[name] for other in names) > 1:
            raise ConfigError(
                f"{NAME}(blocks=)",
                expected="blocks beside one another",
                got=f"{(inside or [name])[0]} in {name}",
            )
        if hooked := [inner for inner in modules[name].modules() if has_hooks(inner)]:
            raise StateError(
                f"{NAME} {name}",
                expected="a block without forward hooks, which would go with it",
                got=f"hooks on a {type(hooked[0]).__name__} in it",
                hint="remove the hooks first",
            )


def _try_out(twin: nn.Module, call: Example, swapped: Mapping[str, nn.Module]) -> None:
    """Run the copy without the blocks; raises StateError where it fails."""
    modules = dict(twin.named_modules())
    put_in_place(twin, {id(modules[name]): new for name, new in swapped.items()})
    try:
        with torch.no_grad():
            call.call(twin, call.values)
    except REFUSED as error:
        raise StateError(
            NAME,
            expected="a model that runs without these blocks",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="its forward may look at what a block holds: leave that block",
        ) from error


def _parameters_of(model: nn.Module, names: list[str]) -> set[int]:
    """Ids of parameters that only these blocks hold."""
    inside = {id(p) for name in names for p in model.get_submodule(name).parameters()}
    gone = {id(inner) for name in names for inner in model.get_submodule(name).modules()}
    others = (module for module in model.modules() if id(module) not in gone)
    return inside - {id(p) for module in others for p in module.parameters(recurse=False)}


def _holds(optimizer: Optimizer, lost: set[int]) -> bool:
    return any(id(each) in lost for group in optimizer.param_groups for each in group["params"])


def _refuse_forgotten(lost: set[int], given: tuple[Optimizer, ...]) -> None:
    """Refuse an optimizer that would go on with parameters that no module has."""
    known = {id(one) for one in given}
    if found := living_one(Optimizer, lambda one: id(one) not in known and _holds(one, lost)):
        raise StateError(
            NAME,
            expected="every optimizer that holds parameters of the blocks",
            got=f"a {type(found).__name__} that was not given",
            hint="pass optimizers=[optimizer]",
        )


def _leave(lost: set[int], given: tuple[Optimizer, ...]) -> None:
    """Take parameters out of optimizers, with their state."""
    for optimizer in given:
        for group in optimizer.param_groups:
            for parameter in [each for each in group["params"] if id(each) in lost]:
                optimizer.state.pop(parameter, None)
            group["params"] = [each for each in group["params"] if id(each) not in lost]
