"""Images are made larger behind a convolution of single pixels instead of in front of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call, Graph, Linear, Node

RESIZES = ("upsample_bilinear2d", "upsample_nearest2d")


@graph_pass(order=12)
def resize_behind(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let a 1 x 1 convolution read the small images, where it alone reads the large ones.

    It mixes channels and the resize mixes pixels, with weights that add up to one, so that their order is free, and the
    bias passes through. The convolution then has fewer pixels to compute.

    Args:
        graph: Graph - of layers that are being frozen.
        inputs: the example; not looked at.

    Cost: O(nodes) a resize.

    Example:
        >>> from torch import nn
        >>> from gossamer.network.operators import operators
        >>> from gossamer.trace.read import layer_of
        >>> larger = Call("upsample_nearest2d", operators["upsample_nearest2d"].settings(scale=(2, 2)))
        >>> nodes = (Node("a", ("x",), larger), Node("b", ("a",), layer_of(nn.Conv2d(8, 2, 1))))
        >>> graph = resize_behind(Graph(("x",), nodes, "b"), ()).graph
        >>> [(node.name, node.inputs) for node in graph.nodes], graph.output
        ([('b', ('x',)), ('a', ('b',))], 'a')
    """
    del inputs
    for node in graph.nodes:
        reader = graph.only_consumer(node.name)
        if (
            isinstance(node.body, Call)
            and node.body.op in RESIZES
            and reader is not None
            and _by_pixel(reader)
        ):
            graph = _swapped(graph, node, reader)
    return Rewritten(graph)


def _by_pixel(node: Node) -> bool:
    """Whether a node is a convolution of single pixels."""
    geometry = node.body.geometry if isinstance(node.body, Linear) else None
    return geometry is not None and geometry.pointwise and len(node.inputs) == 1


def _swapped(graph: Graph, resize: Node, layer: Node) -> Graph:
    """With the layer first; what read it reads the resized images."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name == layer.name:
            nodes += [replace(layer, inputs=resize.inputs), replace(resize, inputs=(layer.name,))]
        elif node.name != resize.name:
            reads = tuple(resize.name if name == layer.name else name for name in node.inputs)
            nodes.append(replace(node, inputs=reads))
    return Graph(graph.inputs, tuple(nodes), resize.name if graph.output == layer.name else graph.output)
