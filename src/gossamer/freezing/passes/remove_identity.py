"""Nodes that hand on what they are given: dropout that is off, identities."""

from __future__ import annotations

from typing import Any

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph


@graph_pass(order=10)
def remove_identity(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let readers of an identity read what it reads, so that what stands around it can be fused.

    Args:
        graph: Graph.
        inputs: the example; not looked at.

    Returns:
        Rewritten - an identity that gives a graph's input back as its output stays.

    Cost: O(nodes) for each of them.

    Example:
        >>> from gossamer.network.graph import Node
        >>> nodes = (Node("a", ("x",), Call("identity")), Node("b", ("a",), Call("relu")))
        >>> remove_identity(Graph(("x",), nodes, "b"), ()).graph.nodes[0].inputs
        ('x',)
    """
    del inputs
    for node in graph.nodes:
        if isinstance(node.body, Call) and node.body.op == "identity":
            (source,) = node.inputs
            if node.name != graph.output or source not in graph.inputs:
                graph = graph.without(node.name)
    return Rewritten(graph)
