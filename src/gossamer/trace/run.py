"""What a graph that is being frozen means by definition, computed by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from gossamer.network.graph import Call, Graph, Layer, Linear, Node, Opaque, unfused
from gossamer.network.operators import operators
from gossamer.trace.convolved import convolution
from gossamer.trace.tensors import tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def run(
    graph: Graph, inputs: tuple[Any, ...], watch: Callable[[Node, tuple[Any, ...]], None] | None = None
) -> Any:
    """Compute node by node, layers dense: slow.

    Args:
        graph: Graph - of linear layers that are being frozen.
        inputs: one for each of the graph's inputs.
        watch: called with every node and its inputs, or None.

    Example:
        >>> run(Graph(("x",), (Node("a", ("x",), Call("relu")),), "a"), (torch.tensor([-1.0, 2.0]),))
        tensor([0., 2.])
    """
    values: dict[str, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        given = tuple(values[name] for name in node.inputs)
        if watch is not None:
            watch(node, given)
        values[node.name] = _computed(node.body, given)
    return values[graph.output]


def shapes_of(graph: Graph, inputs: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of every value that is read; one run."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        pairs = zip(node.inputs, given, strict=True)
        shapes.update({name: tuple(x.shape) for name, x in pairs if isinstance(x, torch.Tensor)})

    run(graph, inputs, watch)
    return shapes


def _computed(body: Call | Linear | Layer | Opaque, given: tuple[Any, ...]) -> Any:
    if isinstance(body, Layer):
        raise TypeError("a frozen layer is run by a Program")
    if not isinstance(body, Linear):
        return body(*given)
    matrix, held = tensor_of(body.connections.dense()), body.connections.bias
    bias = None if held is None else tensor_of(held)
    if body.geometry is None:
        y = F.linear(given[0], matrix, bias)
    else:
        y = convolution(matrix, bias, body.geometry)(given[0])
    y = y + given[1] if len(given) > 1 else y
    return activated(y, body.activation, body.slope)


def activated(y: Tensor, activation: str | None, slope: float) -> Tensor:
    """What follows the sums of a linear layer, by torch."""
    if activation is None:
        return y
    body = unfused(activation, slope)
    made: Tensor = operators[body.op].tensors(torch, (y,), body.settings, {})
    return made
