"""A sum behind a linear layer becomes part of it: the layer adds the other summand itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph, Node
from gossamer.trace.run import run
from gossamer.trace.trace import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator


@graph_pass(order=40)
def add_residual(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let linear layers add what is added to their outputs, where both are of the same shape.

    Args:
        graph: Graph - of linear layers that are being frozen.
        inputs: the example.

    Returns:
        Rewritten - a layer with a residual has it as second input.

    Cost: where sums follow linear layers, one run of the example, and of two of it where it is one sample.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gossamer.network.graph import Linear
        >>> from gossamer.trace.read import read
        >>> nodes = (Node("a", ("x",), Linear(read(nn.Linear(2, 2)))), Node("b", ("x", "a"), Call("add")))
        >>> graph = add_residual(Graph(("x",), nodes, "b"), (torch.ones(1, 2),)).graph
        >>> [(node.name, node.inputs) for node in graph.nodes]
        [('a', ('x', 'x'))]
    """
    return Rewritten(_residuals(graph, inputs))


def _residuals(graph: Graph, inputs: tuple[Any, ...]) -> Graph:
    """Sums of a layer's output and something of the same shape."""
    if len(graph.inputs) > 1 or not any(_sums(graph)):  # a second input may be broadcast over the batch
        return graph
    alike = _alike(graph, inputs)
    x = inputs[0]
    if (
        isinstance(x, Tensor) and x.dim() and x.shape[0] == 1
    ):  # a summand that is the same for all samples shows at two of them
        with suppress(*REFUSED):  # a model that takes one sample only
            alike &= _alike(graph, (torch.cat((x, x)),))
    while found := next((pair for pair in _sums(graph) if pair[1].name in alike), None):
        graph = _with_residual(graph, *found)
    return graph


def _alike(graph: Graph, inputs: tuple[Any, ...]) -> set[str]:
    """Nodes whose inputs have the same shape and type."""
    alike: set[str] = set()

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        shapes = {(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in given}
        if len(shapes) == 1:
            alike.add(node.name)

    run(graph, inputs, watch)
    return alike


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
