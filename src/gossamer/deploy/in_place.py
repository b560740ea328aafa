"""Freezing what cannot be traced: layer by layer, each in its place; dead neurons give their bias."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gossamer.deploy.assemble import described, freeze_graph
from gossamer.deploy.frozen import Frozen
from gossamer.deploy.graph import Call, Graph, Linear, Node, Opaque
from gossamer.deploy.operators import find_module
from gossamer.deploy.plan import BatchPlan, Plan
from gossamer.deploy.trace import UNTRACEABLE, agree, by_layer
from gossamer.measure import machine
from gossamer.nn import MaskedConv2d

if TYPE_CHECKING:
    from gossamer.deploy.wanted import Wanted


def freeze_in_place(model: nn.Module, inputs: tuple[Any, ...], wanted: Wanted, why: str) -> Frozen:
    """Freeze every linear layer that the example reaches, and multiply the zeros into masked convolutions.

    Args:
        model: nn.Module - a copy that may be changed, in evaluation.
        inputs: the example.
        wanted: Wanted.
        why: str - why the model was not traced.

    Returns:
        Frozen - one node that is the model itself, so it runs but cannot be saved.

    Raises:
        PatternError: a forced layout that cannot hold its layer.
    """
    parts = _convolutions(model) | _linears(model, inputs, wanted)
    notes = [f"frozen layer by layer, for the model could not be traced: {why}"[:2000]]
    swapped = _swapped(model, parts)
    if not _same(model, swapped, inputs):
        swapped, parts = model, {}
        notes.append("its code looks inside its layers, so they were left as they are")
    names = tuple(f"x{number}" for number in range(len(inputs)))
    node = Node(
        "model", names, Opaque(f"the model ({type(model).__name__}), which could not be traced,", swapped)
    )
    rows = [row for part in parts.values() for row in part.report.layers]
    batches = next((p.report.batches for p in parts.values() if p.report.layers), [BatchPlan(batch=1)])
    unmeasured = [BatchPlan(batch=row.batch, up_to=row.up_to) for row in batches]
    report = Plan(inputs=described(inputs), batches=unmeasured, layers=rows, notes=notes, machine=machine())
    return Frozen(Graph(names, (node,), "model"), report)


def _linears(model: nn.Module, inputs: tuple[Any, ...], wanted: Wanted) -> dict[str, Frozen]:
    """Every linear layer, frozen by itself on the input it got."""
    found = by_layer(model, inputs)
    each = replace(wanted, seconds=wanted.seconds / max(1, len(found)))
    parts = {}
    for name, (connections, x) in found.items():
        sample = x if x.dim() > 1 and x.shape[0] else x.new_zeros(1, connections.shape[1])
        parts[name] = freeze_graph(
            Graph(("x",), (Node(name, ("x",), Linear(connections)),), name), (sample,), each
        )
    return parts


def _convolutions(model: nn.Module) -> dict[str, Frozen]:
    """Every masked convolution as a dense one."""
    parts = {}
    for name, module in model.named_modules():
        entry = find_module(module)
        if entry is not None and type(module) is MaskedConv2d and name:
            node = Node(name, ("x",), Call(entry.name, *entry.modules[MaskedConv2d](module)))
            parts[name] = Frozen(Graph(("x",), (node,), name), Plan(batches=[BatchPlan(batch=1)]))
    return parts


def _swapped(model: nn.Module, parts: dict[str, Frozen]) -> nn.Module:
    """A copy of the model with the frozen parts in place, shared layers in every place."""
    twin = copy.deepcopy(model)
    new = {id(module): parts[name] for name, module in twin.named_modules() if name in parts}
    for parent in list(twin.modules()):
        for name, child in list(parent._modules.items()):  # noqa: SLF001 (set_submodule would miss shared layers)
            if id(child) in new:
                parent._modules[name] = new[id(child)]  # noqa: SLF001
    return twin


def _same(model: nn.Module, swapped: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether the swapped model still runs, and gives what the model gives."""
    expected = model(*inputs)
    try:
        got = swapped(*inputs)
    except UNTRACEABLE:
        return False
    pairs = [(expected, got)] if isinstance(expected, Tensor) else _tensors(expected, got)
    return all(isinstance(b, Tensor) and a.shape == b.shape and agree(a, b) for a, b in pairs)


def _tensors(expected: Any, got: Any) -> list[tuple[Tensor, Any]]:
    """Tensors of two results of the same kind, side by side, as far as lists, tuples and dicts go."""
    if isinstance(expected, Tensor):
        return [(expected, got)]
    if isinstance(expected, dict) and isinstance(got, dict):
        return [pair for key in expected for pair in _tensors(expected[key], got.get(key))]
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        return [pair for a, b in zip(expected, got, strict=False) for pair in _tensors(a, b)]
    return []
