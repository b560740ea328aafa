"""Who reads a value feature by feature: core layers do, torch's operators want each sample's numbers side by side."""

from __future__ import annotations

from gossamer.network.graph import Graph, Layer, Linear, Node
from gossamer.network.neighbours import is_elementwise


def in_chain(body: Layer, batch_class: int) -> bool:
    """Whether a layer runs in a call into the core with those before and behind it; no slice does, no convolution."""
    return body.geometry is None and body.choices[batch_class].layout != "slice"


def read_by_core(graph: Graph, name: str, batch_class: int) -> bool:
    """Whether nothing but core layers reads a value, also through activations.

    Example:
        >>> from gossamer.network.graph import Call
        >>> chain = Graph(("x",), (Node("a", ("x",), Call("relu")), Node("b", ("a",), Call("softmax"))), "b")
        >>> read_by_core(chain, "a", 0), read_by_core(chain, "b", 0)
        (False, True)
    """
    for reader in graph.consumers(name):
        if isinstance(reader.body, Layer):
            if not in_chain(reader.body, batch_class):
                return False
        elif not is_elementwise(reader.body) or not read_by_core(graph, reader.name, batch_class):
            return False
    return True


def fed_by_core(graph: Graph, node: Node) -> bool:
    """Whether a layer reads what another linear layer computes, at most through activations.

    Example:
        >>> from gossamer.network.graph import Call
        >>> node = Node("b", ("a",), Call("relu"))
        >>> fed_by_core(Graph(("x",), (Node("a", ("x",), Call("relu")), node), "b"), node)
        False
    """
    made = {other.name: other for other in graph.nodes}
    before = made.get(node.inputs[0])
    while before is not None and is_elementwise(before.body):
        before = made.get(before.inputs[0])
    return before is not None and isinstance(before.body, (Linear, Layer))
