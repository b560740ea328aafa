"""An activation behind a linear layer becomes part of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph
from gossamer.network.operators import operators


@graph_pass(order=50)
def fuse_activation(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let linear layers apply the activation of the core that alone reads them.

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
        if reader is None or not isinstance(reader.body, Call):
            continue
        activation = operators[reader.body.op].activation(reader.body.settings)
        if activation is not None:
            fused = replace(body, activation=activation[0], slope=activation[1])
            graph = graph.replaced({node.name: fused}).without(reader.name)
    return Rewritten(graph)
