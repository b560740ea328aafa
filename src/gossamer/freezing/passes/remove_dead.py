"""Neurons and channels that compute nothing, removed for good and exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.freezing.fates import alive, read_by
from gossamer.freezing.passes.base import Removal, Rewritten, graph_pass
from gossamer.layouts.arrays import cast, name_of, nonzero
from gossamer.network.graph import Call, Graph, Linear, Node
from gossamer.network.operators import operators
from gossamer.trace.features import foldable, told, walked
from gossamer.trace.held import Features, Held
from gossamer.trace.run import shapes_of
from gossamer.trace.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array


@graph_pass(order=30)
def remove_dead(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Remove dead hidden neurons and channels until none is left; outputs stay equal up to rounding.

    A neuron without inputs gives a constant ``f(bias)``, which moves into the bias of the layers that read it; a
    neuron that no connection leaves is dropped with its own inputs, which may kill neurons before it. A channel is
    followed through activations, batch norms, pools, sums, products, concatenations and ``flatten``; behind a sum it
    goes where it is dead on both sides. A constant other than zero stays where a convolution with a border of zeros
    reads it: at the edges it is not the same. Weights are never looked at: connections that are zero or cancel are
    connections. Where the layout needs it only whole parts go: groups of a grouped layer, whole input tiles of an
    N:M layer, whole blocks of a block layer; and whole groups of a grouped convolution.

    Args:
        graph: Graph.
        inputs: the example: shapes are read off it where channels pass through more than activations.

    Returns:
        Rewritten - one row for each layer that lost neurons.

    Cost: O(connections) a sweep, at most one sweep a layer and direction; one run of the example.
    Source: RigL (Evci et al. 2020), appendix B, with biases folded; SRigL (Lasby et al. 2024), section 4.4.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> first = Connections((2, 1), np.array([0]), np.ones(1), np.array([0.0, 3.0]))
        >>> second = Connections((1, 2), np.array([0, 1]), np.array([1.0, 10.0]))
        >>> graph = Graph(("x",), (Node("a", ("x",), Linear(first)), Node("b", ("a",), Linear(second))), "b")
        >>> smaller, _, rows = remove_dead(graph, ())
        >>> rows, smaller.nodes[1].body.connections.bias
        ((Removal(layer='a', constant=1, unread=0),), array([30.]))
    """
    shapes = _shapes(graph, inputs)
    totals: dict[str, Removal] = {}
    while True:
        found = walked(graph, shapes)
        stays = alive(graph, found)
        if stays.all():
            break
        for row in _removals(graph, found, stays):
            old = totals.get(row.layer, Removal(row.layer, 0, 0))
            totals[row.layer] = Removal(row.layer, old.constant + row.constant, old.unread + row.unread)
        nodes = (_without(node, found.held, stays) for node in graph.nodes)
        graph = replace(graph, nodes=tuple(nodes))
        shapes = _shapes(graph, inputs)
    return Rewritten(
        graph, removed=tuple(totals[node.name] for node, _ in graph.linears() if node.name in totals)
    )


def _shapes(graph: Graph, inputs: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    """Of every value that is read, where more than activations lies between layers."""
    calls = [node.body for node in graph.nodes if isinstance(node.body, Call)]
    if not inputs or all(operators[body.op].elementwise for body in calls):
        return {}
    return shapes_of(graph, inputs)


def _removals(graph: Graph, found: Features, stays: Array) -> list[Removal]:
    """What each layer loses: constants that somebody was told of, and what nobody read."""
    heard = np.zeros(found.total, bool)
    for node, body in graph.linears():
        x = found.held.get(node.inputs[0])
        if x is not None and not stays[x.fates].all():
            heard[x.fates[read_by(body, x.fates.size)]] = True
    for first, second in found.ties:
        heard[first] = heard[second] = heard[first] | heard[second]
    rows = []
    for node, _ in graph.linears():
        mine = found.held.get(node.name)
        if mine is not None and not stays[mine.fates].all():
            gone = mine.fates[~stays[mine.fates]]
            constant = int(heard[gone].sum())
            rows.append(Removal(node.name, constant, gone.size - constant))
    return rows


def _without(node: Node, held: dict[str, Held], stays: Array) -> Node:
    """The node with what is left of its inputs and of itself."""
    if not node.inputs:  # a tensor that the model holds
        return node
    x, mine = held.get(node.inputs[0]), held.get(node.name)
    if isinstance(node.body, Linear):
        return replace(node, body=_layer(node.body, x, stays, None if mine is None else ~stays[mine.fates]))
    if x is None or mine is None or not isinstance(node.body, Call) or stays[x.fates].all():
        return node
    keep = stays[x.fates]
    tensors = {name: tensor[tensor_of(keep)] for name, tensor in node.body.tensors.items()}
    settings = operators[node.body.op].resized(node.body.settings, int(keep.sum()))
    return replace(node, body=Call(node.body.op, settings, tensors))


def _layer(body: Linear, x: Held | None, stays: Array, rows: Array | None) -> Linear:
    """A layer without dead inputs and neurons, which it is told of if they are constants."""
    connections, geometry = body.connections, body.geometry
    if x is not None and not stays[x.fates].all():
        gone = ~stays[x.fates]
        which = gone & read_by(body, x.fates.size) & foldable(body, x)
        if bool(nonzero(array_of(x.constants)[which]).any()):
            bias = cast(told(body, x.constants, which), name_of(connections.values))
            connections = replace(connections, bias=bias)
        cols = gone
        if geometry is not None:
            left = int(stays[x.fates].sum())
            inner = geometry.channels // geometry.groups
            cols = np.tile(gone, geometry.kernel[0] * geometry.kernel[1])
            if geometry.groups > 1:  # whole groups go, of columns that others have as well
                cols = np.zeros(connections.shape[1], bool)
            geometry = replace(geometry, channels=left, groups=left // inner if geometry.groups > 1 else 1)
        connections = connections.without(inputs=np.flatnonzero(cols))
    if rows is not None and rows.any():
        connections = connections.without(neurons=np.flatnonzero(rows))
    return replace(body, connections=connections, geometry=geometry)
