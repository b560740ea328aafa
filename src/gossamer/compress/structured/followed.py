"""A model followed from input to output, on a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gossamer.compress.structured.sorting import Sorting
from gossamer.errors import ConfigError, DtypeError
from gossamer.network.graph import Graph
from gossamer.nn.candidates import check_model
from gossamer.trace.agreement import same
from gossamer.trace.calling import Example
from gossamer.trace.copied import copied
from gossamer.trace.features import walked
from gossamer.trace.run import shapes_of
from gossamer.trace.trace import trace

if TYPE_CHECKING:
    from gossamer.compress.structured.members import Followed

Fixing = Callable[[nn.Module], dict[str, str]]


def twin_of(operation: str, model: Any) -> nn.Module:
    """A copy in evaluation, without gradients.

    Raises:
        ConfigError: no module, a layer by itself, or a wrapped or compiled one. DtypeError: one that is not on the CPU.
        StateError: one that cannot be copied.
    """
    check_model(model, operation)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "cpu":
            got = f"{name} on {tensor.device}"
            raise DtypeError(operation, expected="a model on the CPU", got=got, hint="call model.cpu() first")
    twin = copied(operation, model)
    twin.eval().requires_grad_(requires_grad=False)
    return twin


def follow(
    operation: str, model: nn.Module, example_input: Any, fixing: Fixing, *, loose: tuple[str, ...] = ()
) -> Followed:
    """Trace a model and sort its channels.

    Args:
        operation: str - named in errors.
        model: nn.Module - left as it is.
        example_input: as ``freeze`` takes it.
        fixing: of a model, name of a layer -> why it keeps all its outputs.
        loose: reasons of ``Features.pinned`` that do not count.

    Returns:
        Followed.

    Raises:
        ConfigError: a model that cannot be followed, with the reason. What ``twin_of`` raises.

    Cost: two copies of the model and four passes.
    """
    twin, traced = twin_of(operation, model), twin_of(operation, model)
    example = Example.of(twin, example_input)
    with torch.no_grad():
        expected = example.call(twin, example.values)
        if not same(expected, example.call(twin, example.values)):
            raise _untraceable(operation, "two runs on the example differ, or it gives no tensor")
        graph = trace(traced, example, expected)
        if not isinstance(graph, Graph):
            raise _untraceable(operation, graph)
        found = walked(graph, shapes_of(graph, example.values))
    found.pinned = [pin for pin in found.pinned if pin[1] not in loose]
    return Sorting(graph, found, dict(twin.named_modules())).followed(twin, example, fixing(model))


def _untraceable(operation: str, why: str) -> ConfigError:
    return ConfigError(
        operation,
        expected="a model that can be followed from input to output",
        got=f"one of which that is not known: {why}",
        hint="take branches on values and work in place out of its forward, or prune the parts of it one by one",
    )
