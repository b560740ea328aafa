"""How many pixels convolutions give: how often each of their weights is used for a sample."""

from __future__ import annotations

from math import prod
from typing import Any

from gossamer.network.graph import Graph, Linear, Node
from gossamer.trace.run import run


def pixels(graph: Graph, inputs: tuple[Any, ...]) -> dict[str, int]:
    """Pixels of the output of every convolution for one sample.

    Args:
        graph: Graph - of layers that are being frozen.
        inputs: the example.

    Cost: one run of the example, where there are convolutions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gossamer.trace.read import layer_of
        >>> node = Node("a", ("x",), layer_of(nn.Conv2d(1, 1, 3)))
        >>> pixels(Graph(("x",), (node,), "a"), (torch.ones(1, 1, 6, 5),))
        {'a': 12}
    """
    found: dict[str, int] = {}

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        if isinstance(node.body, Linear) and node.body.geometry is not None:
            found[node.name] = prod(node.body.geometry.out_size(*given[0].shape[-2:]))

    if any(body.geometry is not None for _, body in graph.linears()):
        run(graph, inputs, watch)
    return found
