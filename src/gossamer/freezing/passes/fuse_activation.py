"""What follows a linear layer and becomes part of it: a residual sum, then an activation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gossamer.network.graph import Call, Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterator


def fuse(graph: Graph, inputs: tuple[Any, ...]) -> Graph:
    """Let linear layers add the residual and apply the ReLU or leaky ReLU that alone follow them.

    Args:
        graph: Graph - of linear layers that are being frozen.
        inputs: the example.

    Returns:
        Graph - a layer with a residual has it as second input.

    Cost: where sums follow linear layers, one run of the example.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gossamer.trace.read import read
        >>> from gossamer.network.graph import Linear
        >>> nodes = (
        ...     Node("a", ("x",), Linear(read(nn.Linear(2, 2)))),
        ...     Node("b", ("x", "a"), Call("add")),
        ...     Node("c", ("b",), Call("relu")),
        ... )
        >>> fused = fuse(Graph(("x",), nodes, "c"), (torch.ones(1, 2),))
        >>> [(node.name, node.inputs, node.body.activation) for node in fused.nodes]
        [('a', ('x', 'x'), 'relu')]
    """
    return _activations(_residuals(graph, inputs))


def _residuals(graph: Graph, inputs: tuple[Any, ...]) -> Graph:
    """Sums of a layer's output and something of the same shape."""
    if len(graph.inputs) > 1 or not any(_sums(graph)):  # a second input may be broadcast over the batch
        return graph
    alike: set[str] = set()

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        shapes = {(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in given}
        if len(shapes) == 1:
            alike.add(node.name)

    graph.run(inputs, watch)
    while found := next((pair for pair in _sums(graph) if pair[1].name in alike), None):
        graph = _with_residual(graph, *found)
    return graph


def _sums(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Every linear layer without a residual yet, and the sum that alone reads it."""
    for node, _ in graph.linears():
        reader = graph.only_consumer(node.name)
        if len(node.inputs) == 1 and reader and isinstance(reader.body, Call) and reader.body.op == "add":
            yield node, reader


def _with_residual(graph: Graph, layer: Node, total: Node) -> Graph:
    """The layer in the place of the sum, where the other summand is there as well."""
    (other,) = (name for name in total.inputs if name != layer.name)
    fused = Node(layer.name, (*layer.inputs, other), layer.body)

    def read(name: str) -> str:
        return layer.name if name == total.name else name

    nodes = tuple(
        fused if node.name == total.name else replace(node, inputs=tuple(map(read, node.inputs)))
        for node in graph.nodes
        if node.name != layer.name
    )
    return Graph(graph.inputs, nodes, read(graph.output))


def _activations(graph: Graph) -> Graph:
    for node, body in graph.linears():
        reader = graph.only_consumer(node.name)
        if reader is not None and isinstance(reader.body, Call) and reader.body.op in ("relu", "leaky_relu"):
            slope = getattr(reader.body.settings, "negative_slope", 0.0)
            fused = replace(body, activation=reader.body.op, slope=slope)
            graph = graph.replaced({node.name: fused}).without(reader.name)
    return graph
