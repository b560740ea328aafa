"""Layers at stride 1 in the places of those with a stride, and what keeps fewer pixels behind them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from gossamer.invariance.report import Change
from gossamer.invariance.windows import POOLS, at_stride_one, window_of
from gossamer.nn import AdaptivePolyphaseDownsample, Subsample
from gossamer.nn.carry import HOOKS
from gossamer.nn.outside import follow, places
from gossamer.nn.swap import put_in_place
from gossamer.nn.unstrided import SameSize, Unstrided

if TYPE_CHECKING:
    from gossamer.invariance.windows import Window


class Sampler(NamedTuple):
    """What takes the place of a stride.

    Args:
        module: nn.Module.
        said: what the report says of it.
        first: bool - whether it may run before a layer that reads single pixels: the result is the same, for less work.
    """

    module: nn.Module
    said: str
    first: bool


Make = Callable[[str, "Window", nn.Module], Sampler]  # name, window and module of a layer with a stride


def change(
    operation: str, model: nn.Module, names: list[str], make: Make, fixed: Collection[str] = ()
) -> list[Change]:
    """Give layers a circular border, and those with a stride a sampler instead of it; in place.

    Args:
        operation: str - for errors.
        model: nn.Module.
        names: of layers with a window, in order of computation.
        make: name and window of a layer with a stride -> what keeps fewer pixels.
        fixed: names of pools as large as their images, which refuse other sizes afterwards.

    Raises:
        ConfigError: a layer that is also held where it cannot be replaced, with the place; nothing is changed then.
    """
    modules = {name: model.get_submodule(name) for name in names}
    windows = {name: window for name, module in modules.items() if (window := window_of(module)) is not None}
    moving = {
        name for name, window in windows.items() if name in fixed or _is_replaced(modules[name], window)
    }
    held = places(model, {id(modules[name]) for name in moving}, operation)
    new: dict[int, nn.Module] = {}
    said = list[Change]()
    for name, window in windows.items():
        module, kind = modules[name], type(modules[name]).__name__
        made, now = _of_size(module, window) if name in fixed else _changed(name, module, window, make)
        if now:
            said.append(Change(name, kind, now))
        if made is not module:
            new[id(module)] = made
    follow(held, new)
    put_in_place(model, new)
    return said


def _is_replaced(module: nn.Module, window: Window) -> bool:
    """Whether something else stands in its place afterwards."""
    if isinstance(module, AdaptivePolyphaseDownsample):
        return False
    left, right, top, bottom = window.around
    lays = left == right and top == bottom and type(module) not in POOLS
    return window.strides or (any(window.around) and not lays)


def _changed(name: str, module: nn.Module, window: Window, make: Make) -> tuple[nn.Module, str]:
    """What stands in its place, and what to say of it; "" where nothing changes."""
    if not window.strides:
        if window.circular or not any(window.around):
            return module, ""
        steps = at_stride_one(module, window)
        return _as_steps(module, steps), "circular border"
    sampler = make(name, window, module)
    if isinstance(module, (AdaptivePolyphaseDownsample, Subsample)):
        return _for_sampler(module, sampler.module), sampler.said
    steps = at_stride_one(module, window)
    before = sampler.first and window.kernel == (1, 1)
    thin = {"downsample": sampler.module}
    border = ", circular border" if any(window.around) else ""
    return _as_steps(module, thin | steps if before else steps | thin), f"stride 1{border}; {sampler.said}"


def _of_size(module: nn.Module, window: Window) -> tuple[nn.Module, str]:
    """A pool over a whole image, for images of that size alone, and what to say of it."""
    height, width = window.kernel
    said = f"pools all {height} x {width} pixels; refuses other sizes"
    return _as_steps(module, {"size": SameSize(height, width), "layer": module}), said


def _as_steps(module: nn.Module, steps: dict[str, nn.Module]) -> nn.Module:
    """A module or several in a row, in the mode of the one in whose place they stand."""
    if list(steps.values()) == [module]:
        return module
    row = Unstrided(OrderedDict(steps))
    for step in (row, *(step for step in steps.values() if step is not module)):
        step.training = module.training
    return row


def _for_sampler(old: nn.Module, new: nn.Module) -> nn.Module:
    """A sampler in the place of another one, with what hangs on it."""
    if new is not old:
        new.training = old.training
        new._is_full_backward_hook = old._is_full_backward_hook  # noqa: SLF001 (torch's own switch)
        for name in HOOKS:
            new.__dict__[name] = getattr(old, name)  # handles remove a hook from this very dictionary
        new.__dict__.update({name: value for name, value in vars(old).items() if name not in vars(new)})
    return new
