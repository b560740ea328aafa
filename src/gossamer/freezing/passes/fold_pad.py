"""A border of zeros in front of convolutions becomes theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph, Linear, Node


@graph_pass(order=5)
def fold_pad(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let convolutions lay a border of zeros around images themselves, where nobody else reads the bordered ones.

    Args:
        graph: Graph - of layers that are being frozen.
        inputs: the example; not looked at.

    Cost: O(nodes) a border.

    Example:
        >>> from torch import nn
        >>> from gossamer.network.operators import operators
        >>> from gossamer.trace.read import layer_of
        >>> border = Call("pad", operators["pad"].settings(border=(1, 1, 0, 2)))
        >>> nodes = (Node("a", ("x",), border), Node("b", ("a",), layer_of(nn.Conv2d(1, 1, 3))))
        >>> fold_pad(Graph(("x",), nodes, "b"), ()).graph.nodes[0].body.geometry.padding
        (1, 1, 0, 2)
    """
    del inputs
    for node in graph.nodes:
        border = _border(node)
        readers = graph.consumers(node.name)
        if border is None or node.name == graph.output or not readers or not all(map(_takes, readers)):
            continue
        bodies = {reader.name: _bordered(reader.body, border) for reader in readers}
        graph = graph.replaced(bodies).without(node.name)
    return Rewritten(graph)


def _border(node: Node) -> tuple[int, ...] | None:
    """Left, right, top and bottom of a border of zeros around images; None for anything else."""
    body = node.body
    if not isinstance(body, Call) or body.op != "pad":
        return None
    value, border = getattr(body.settings, "value", None), getattr(body.settings, "border", ())
    if value != 0 or any(border[4:]):
        return None
    return (*border[:4], *(0,) * (4 - len(border)))


def _takes(node: Node) -> bool:
    """Whether a node is a convolution whose own border, if it has one, is of zeros."""
    geometry = node.body.geometry if isinstance(node.body, Linear) else None
    return (
        geometry is not None
        and len(node.inputs) == 1
        and (geometry.mode == "zeros" or not any(geometry.padding))
    )


def _bordered(body: Any, border: tuple[int, ...]) -> Linear:
    geometry = body.geometry
    around = tuple(own + more for own, more in zip(geometry.padding, border, strict=True))
    wider: Linear = replace(body, geometry=replace(geometry, padding=around, mode="zeros"))
    return wider
