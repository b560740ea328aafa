"""A copy of a network that may be followed and tried out, and what torch.fx sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from gossamer.errors import ConfigError
from gossamer.invariance.calls import GLOBAL, moves_with
from gossamer.invariance.windows import window_of
from gossamer.nn import SparseModule
from gossamer.nn.candidates import WRAPPERS
from gossamer.nn.carry import HOOKS
from gossamer.trace.copied import copied
from gossamer.trace.trace import REFUSED
from gossamer.trace.tracer import Tracer

if TYPE_CHECKING:
    from gossamer.trace.calling import Example


def check_model(operation: str, model: Any) -> None:
    """Refuse what is no model that holds its layers: no module, a layer by itself, a wrapper, layers without sizes.

    Raises:
        ConfigError.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(operation, expected="a torch.nn.Module", got=type(model).__name__)
    if window_of(model) is not None:
        raise ConfigError(
            operation,
            expected="a model that holds the layer, since layers are changed where they are held",
            got=f"the {type(model).__name__} itself",
            hint="wrap it: nn.Sequential(layer)",
        )
    for name, module in model.named_modules():
        bases = {base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.")}
        wrapped = bases & set(WRAPPERS) or module._compiled_call_impl is not None  # noqa: SLF001 (no public question)
        lazy = any(is_lazy(parameter) for parameter in module.parameters(recurse=False))
        if wrapped or lazy:
            raise ConfigError(
                operation,
                expected="a model that knows its sizes, and is not wrapped or compiled yet",
                got=f"{name or 'the model'} ({type(module).__name__})",
                hint="run one batch through it first"
                if lazy
                else "call it on the model inside, and wrap afterwards",
            )


def twin_of(operation: str, model: nn.Module) -> nn.Module:
    """A copy in evaluation, without gradients, and without hooks other than torch's own, which compute weights.

    Raises:
        StateError: a model that cannot be copied, or whose copy shares modules with it.
    """
    twin = copied(operation, model)
    twin.eval().requires_grad_(requires_grad=False)
    for module in twin.modules():
        for name in HOOKS:
            hooks = getattr(module, name)
            for key, hook in list(hooks.items()):
                if not getattr(type(hook), "__module__", "").startswith("torch."):
                    del hooks[key]
    return twin


def traced(operation: str, twin: nn.Module, example: Example) -> fx.Graph:
    """What torch.fx sees of a call; layers, norms and activations are one node each.

    Raises:
        ConfigError: a model that it cannot follow, with the reason.
    """
    tracer = Tracer(twin, {module for module in twin.modules() if _is_leaf(module)})
    try:
        return tracer.follow(example)
    except REFUSED as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            operation,
            expected="a model that torch.fx can follow",
            got=f"{type(error).__name__}: {reason}",
            hint="take branches that depend on numbers of an image out of its forward",
        ) from error


def _is_leaf(module: nn.Module) -> bool:
    known = isinstance(module, (SparseModule, *GLOBAL)) or moves_with(module)
    return known or window_of(module) is not None


def shapes_of(
    operation: str, twin: nn.Module, graph: fx.Graph, example: Example
) -> dict[fx.Node, tuple[int, ...]]:
    """The shape of every value for an example, in float64 whatever the types are: its sizes alone matter.

    Raises:
        ConfigError: an example that the model does not take.
    """
    found: dict[fx.Node, tuple[int, ...]] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                found[n] = tuple(value.shape)
            return value

    try:
        with torch.no_grad():
            Watch(twin.double(), graph=graph).run(*map(in_double, example.values))
    except REFUSED as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            operation,
            expected="an example that the model takes",
            got=f"{type(error).__name__}: {reason}",
        ) from error
    return found


def in_double(value: Any) -> Any:
    """A tensor of floating numbers in float64; anything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
