"""Neurons that compute nothing, removed for good and exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.freezing.passes.base import Removal, Rewritten, graph_pass
from gossamer.layouts import layout
from gossamer.layouts.arrays import nonzero
from gossamer.network.graph import Graph
from gossamer.network.neighbours import link
from gossamer.trace.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections


@graph_pass(order=30)
def remove_dead(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Remove dead hidden neurons until none is left; outputs stay equal up to rounding.

    A neuron without inputs gives a constant ``f(bias)``, which moves into the bias of the layer that reads
    it; a neuron that no connection leaves is dropped with its own inputs, which may kill neurons before it.
    Done where a linear layer feeds exactly one other linear layer through activations that act number by
    number; elsewhere the full width stays and a dead neuron gives its bias. Weights are never looked at:
    connections that are zero or cancel are connections.
    Where the layout needs it only whole parts go: groups of a grouped layer, whole input tiles of an
    N:M layer, whole blocks of a block layer.

    Args:
        graph: Graph.
        inputs: the example; not looked at.

    Returns:
        Rewritten - one row for each layer that lost neurons.

    Cost: O(connections) a sweep, at most one sweep a layer and direction.
    Source: RigL (Evci et al. 2020), appendix B, with biases folded; SRigL (Lasby et al. 2024), section 4.4.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> from gossamer.network.graph import Linear, Node
        >>> first = Connections((2, 1), np.array([0]), np.ones(1), np.array([0.0, 3.0]))
        >>> second = Connections((1, 2), np.array([0, 1]), np.array([1.0, 10.0]))
        >>> graph = Graph(("x",), (Node("a", ("x",), Linear(first)), Node("b", ("a",), Linear(second))), "b")
        >>> smaller, _, rows = remove_dead(graph, ())
        >>> rows, smaller.nodes[1].body.connections.bias
        ((Removal(layer='a', constant=1, unread=0),), array([30.]))
    """
    del inputs
    totals: dict[str, Removal] = {}
    changed = True
    while changed:
        changed = False
        for node, _ in graph.linears():
            found = _sweep(graph, node.name)
            if found is not None:
                graph, removal = found
                old = totals.get(node.name, Removal(node.name, 0, 0))
                totals[node.name] = Removal(
                    node.name, old.constant + removal.constant, old.unread + removal.unread
                )
                changed = True
    removed = tuple(totals[node.name] for node, _ in graph.linears() if node.name in totals)
    return Rewritten(graph, removed=removed)


def _sweep(graph: Graph, name: str) -> tuple[Graph, Removal] | None:
    """Remove the dead neurons of one layer; None where there is none, or its surroundings do not allow it."""
    bodies = {node.name: body for node, body in graph.linears()}
    found = link(graph, name, bodies)
    if found is None:
        return None
    producer, consumer = bodies[name].connections, bodies[found.reader].connections
    if producer.shape[0] != consumer.shape[1]:
        return None
    constant, unread = producer.fan_in() == 0, consumer.fan_out() == 0
    gone = np.flatnonzero(_whole(constant | unread, producer, consumer))
    if not gone.size:
        return None
    bias = np.zeros(producer.shape[0], producer.values.dtype) if producer.bias is None else producer.bias
    output = array_of(found.constants(tensor_of(bias)))
    folded = np.zeros_like(bias)
    told = gone[~unread[gone]]
    folded[told] = output[told]
    if bool(nonzero(folded).any()):
        consumer = consumer.add_constant(folded)
    new = {
        name: replace(bodies[name], connections=producer.without(neurons=gone)),
        found.reader: replace(bodies[found.reader], connections=consumer.without(inputs=gone)),
    }
    lost = int(unread[gone].sum())
    return graph.replaced(new), Removal(name, gone.size - lost, lost)


def _whole(dead: Array, producer: Connections, consumer: Connections) -> Array:
    """[neurons], bool: the dead ones that can go without breaking a layout; at least one neuron stays."""
    (neurons, _), (_, inputs) = _parts(producer), _parts(consumer)
    part = math.lcm(neurons, inputs)
    if dead.size % part:
        return np.zeros_like(dead)
    parts = np.logical_and.reduce(dead.reshape(-1, part), axis=1)
    if bool(parts.all()):
        parts[0] = False
    return np.repeat(parts, part)


def _parts(connections: Connections) -> tuple[int, int]:
    """Neurons and inputs that go together only."""
    trained = connections.trained
    return (1, 1) if trained is None else layout(trained.layout).whole(trained.parameters)
