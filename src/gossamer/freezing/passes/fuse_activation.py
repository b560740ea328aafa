"""A ReLU or leaky ReLU behind a linear layer becomes part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph


@graph_pass(order=50)
def fuse_activation(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let linear layers apply the ReLU or leaky ReLU that alone reads them.

    Args:
        graph: Graph - of linear layers that are being frozen.
        inputs: the example; not looked at.

    Cost: O(nodes) a layer.

    Example:
        >>> from torch import nn
        >>> from gossamer.network.graph import Linear, Node
        >>> from gossamer.trace.read import read
        >>> nodes = (Node("a", ("x",), Linear(read(nn.Linear(2, 2)))), Node("b", ("a",), Call("relu")))
        >>> [node.body.activation for node in fuse_activation(Graph(("x",), nodes, "b"), ()).graph.nodes]
        ['relu']
    """
    del inputs
    for node, body in graph.linears():
        reader = graph.only_consumer(node.name)
        if reader is not None and isinstance(reader.body, Call) and reader.body.op in ("relu", "leaky_relu"):
            slope = getattr(reader.body.settings, "negative_slope", 0.0)
            fused = replace(body, activation=reader.body.op, slope=slope)
            graph = graph.replaced({node.name: fused}).without(reader.name)
    return Rewritten(graph)
