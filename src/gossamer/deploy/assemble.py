"""The steps of freezing a traced graph, and the report of what they did."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gossamer.deploy.choose import Candidates, choose
from gossamer.deploy.dead import Removal, remove_dead
from gossamer.deploy.frozen import Frozen
from gossamer.deploy.fuse import fuse
from gossamer.deploy.graph import Choice, Graph, Layer, Linear, Opaque
from gossamer.deploy.layouts import layout
from gossamer.deploy.plan import BatchPlan, Candidate, InputPlan, LayerPlan, Plan
from gossamer.deploy.values import EXACT, fitting, narrowed
from gossamer.measure import machine

if TYPE_CHECKING:
    from gossamer.deploy.connections import Connections
    from gossamer.deploy.wanted import Wanted


def freeze_graph(graph: Graph, inputs: tuple[Any, ...], wanted: Wanted) -> Frozen:
    """Remove, fuse, choose, report."""
    before = {node.name: body.connections.shape for node, body in graph.linears()}
    graph, removals = remove_dead(graph)
    graph = fuse(graph, inputs)
    if wanted.values != EXACT:
        bodies = {
            node.name: replace(body, connections=_rounded(body.connections, wanted))
            for node, body in graph.linears()
        }
        graph = graph.replaced(bodies)
    packed, found, networks = choose(graph, inputs, wanted)
    until = limits(wanted.batches)
    batches = [
        BatchPlan(
            batch=batch, up_to=limit, seconds=times, chosen=min(times, key=times.__getitem__) if times else ""
        )
        for batch, limit, times in zip(wanted.batches, until, networks, strict=True)
    ]
    gone = {row.layer: row for row in removals}
    layers = {node.name: layer for node, layer in packed.layers()}
    rows = [
        replaced_by(body, layers[node.name], found[node.name], gone.get(node.name)).model_copy(
            update={"name": node.name, "was": before[node.name], "residual": len(node.inputs) > 1}
        )
        for node, body in graph.linears()
    ]
    return Frozen(
        packed,
        Plan(inputs=described(inputs), batches=batches, layers=rows, notes=_notes(graph), machine=machine()),
    )


def _rounded(connections: Connections, wanted: Wanted) -> Connections:
    """With values of fewer bits; int8 where rounded inputs need it, else in the type that takes the fewest bytes."""
    keeps = wanted.activations != EXACT
    return narrowed(connections, wanted.values if keeps else fitting(connections, wanted.values))


def described(inputs: tuple[Any, ...]) -> list[InputPlan]:
    """Shape and dtype of each input of the example."""
    return [
        InputPlan(dtype=str(x.dtype).removeprefix("torch."), shape=list(x.shape))
        if isinstance(x, Tensor)
        else InputPlan()
        for x in inputs
    ]


def _notes(graph: Graph) -> list[str]:
    """What stays torch."""
    what = [node.body.what for node in graph.nodes if isinstance(node.body, Opaque)]
    return [f"{each} stays torch: it runs, but the network cannot be saved" for each in what[:60]]


def limits(batches: tuple[int, ...]) -> list[int | None]:
    """Up to which batch size each measured one is used: half-way to the next on a logarithmic scale."""
    between: list[int | None] = [math.isqrt(a * b) for a, b in pairwise(batches)]
    return [*between, None]


def replaced_by(body: Linear, layer: Layer, found: Candidates, gone: Removal | None) -> LayerPlan:
    """The report of one layer."""
    chosen = layer.choices
    read = [layout(choice.layout).activations for choice in chosen]
    tried = [
        Candidate(
            layout=way.layout,
            engine=way.engine,
            bytes=found.forms[way.layout].bytes,
            seconds=found.seconds.get(way, []),
            why=_why(found, way, chosen.index(way)) if way in chosen else found.unmeasured.get(way, ""),
        )
        for way in found.ways
    ]
    tried += [Candidate(layout=name, why=why) for name, why in found.refused.items()]
    return LayerPlan(
        name="",
        shape=layer.shape,
        was=layer.shape,
        connections=body.connections.positions.numel(),
        constant=gone.constant if gone else 0,
        unread=gone.unread if gone else 0,
        unused_inputs=int((body.connections.fan_out() == 0).sum()),
        activation=layer.activation,
        values=str(layer.stored.values.dtype).removeprefix("torch."),
        activations=next((kind for kind in read if kind != EXACT), EXACT),
        chosen=chosen[0].layout,
        runs=[f"{choice.layout}/{choice.engine}" for choice in chosen],
        bytes=layer.stored.bytes,
        candidates=tried,
    )


def _why(found: Candidates, way: Choice, number: int) -> str:
    """Why a way runs in a batch class."""
    if not found.seconds:
        return "the only one asked for"
    fastest = found.fastest(number)
    return "fastest" if way == fastest else "the whole network is faster with it"
