"""Freezing what cannot be traced: layer by layer, each in its place; dead neurons give their bias."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from gossamer.freezing.assemble import described, freeze_graph, limits
from gossamer.freezing.frozen import Frozen
from gossamer.freezing.wanted import Wanted
from gossamer.layouts.values import EXACT, FLOAT32
from gossamer.measure import machine
from gossamer.network.graph import Graph, Node, Opaque
from gossamer.network.plan import BatchPlan, Plan
from gossamer.nn.swap import put_in_place
from gossamer.trace.agreement import same
from gossamer.trace.opaque import TracedCall
from gossamer.trace.trace import REFUSED, by_layer

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.network.plan import LayerPlan
    from gossamer.trace.calling import Example

ALIKE = Wanted(keep="csr", guarded=False)  # what any layer can be, to the rounding of its sums


def freeze_in_place(model: nn.Module, example: Example, wanted: Wanted, why: str, expected: Any) -> Frozen:
    """Freeze every linear layer and convolution that the example reaches.

    Args:
        model: nn.Module - a copy that may be changed, in evaluation.
        example: Example.
        wanted: Wanted.
        why: str - why the model was not traced.
        expected: what the model gives for the example.

    Returns:
        Frozen - one node that is the model itself, so it runs but cannot be saved.

    Raises:
        PatternError: a forced layout that cannot hold its layer.
    """
    parts = _layers(model, example, wanted)
    swapped = _swapped(model, parts)
    alike = _runs_alike(swapped, example, expected)
    if not alike and (wanted.plan is not None or (wanted.values, wanted.compute) != (EXACT, FLOAT32)):
        # rounding alone may have made the difference: exact layers in the same places tell
        alike = _runs_alike(_swapped(model, _layers(model, example, ALIKE)), example, expected)
    if not alike:
        reason = "its code looks inside its layers, or its result holds no tensors that could be compared"
        return left_as_it_is(model, example, wanted, f"could not be traced: {why}; {reason}")
    note = f"frozen layer by layer, for the model could not be traced: {why}"
    return _whole(
        swapped, example, wanted, [row for each in parts.values() for row in each.report.layers], note
    )


def left_as_it_is(model: nn.Module, example: Example, wanted: Wanted, why: str) -> Frozen:
    """The model itself, in evaluation, no layer frozen; ``why`` goes into the report."""
    return _whole(model, example, wanted, [], f"its layers were left as they are: {why}")


def _whole(model: nn.Module, example: Example, wanted: Wanted, rows: list[LayerPlan], note: str) -> Frozen:
    """One node that calls a model as the example does."""
    run = TracedCall(model, example.args, example.kwargs)
    what = f"the model ({type(model).__name__}), which could not be traced,"
    node = Node("model", example.names, Opaque(what, run))
    batches = [
        BatchPlan(batch=batch, up_to=until)
        for batch, until in zip(wanted.batches, limits(wanted.batches), strict=True)
    ]
    report = Plan(
        inputs=described(example.values),
        batches=batches if wanted.plan is None else wanted.plan.batches,
        layers=rows,
        notes=[note[:2000]],
        machine=machine(),
    )
    return Frozen(Graph(example.names, (node,), "model"), report)


def _layers(model: nn.Module, example: Example, wanted: Wanted) -> dict[str, Frozen]:
    """Every linear layer and convolution, frozen by itself on the input it got."""
    found = by_layer(model, example)
    each = replace(wanted, seconds=wanted.seconds / max(1, len(found)), guarded=False)
    parts = {}
    for name, (nodes, x) in found.items():
        own = each if each.plan is None else replace(each, plan=each.plan.of_layer(name))
        graph = Graph(("x",), nodes, nodes[-1].name)
        sample = _sample(graph, x)
        if sample is not None:
            parts[name] = freeze_graph(graph, (sample,), own)
    return parts


def _sample(graph: Graph, x: Tensor) -> Tensor | None:
    """What a layer got, with a batch of at least one; None for images and lines without a batch."""
    ((_, layer),) = graph.linears()
    if layer.geometry is None:
        return x if x.dim() > 1 and x.shape[0] else x.new_zeros(1, layer.connections.shape[1])
    if x.dim() != (4 if len(graph.nodes) == 1 else 3):
        return None
    return x if x.shape[0] else x.new_zeros(1, *x.shape[1:])


def _swapped(model: nn.Module, parts: dict[str, Frozen]) -> nn.Module:
    """A copy of the model with the frozen parts in place, shared layers in every place."""
    twin = copy.deepcopy(model)
    new = {id(module): parts[name] for name, module in twin.named_modules() if name in parts}
    put_in_place(twin, new)
    return twin


def _runs_alike(swapped: nn.Module, example: Example, expected: Any) -> bool:
    """Whether the swapped model still runs, and gives what the model gives."""
    try:
        return same(expected, example.call(swapped, example.values))
    except REFUSED:
        return False
