"""A batch norm behind a linear layer or a convolution becomes part of its weights and bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_linear_bn_weights

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.layouts.arrays import name_of
from gossamer.layouts.connections import Connections
from gossamer.network.graph import Call, Graph, Linear, Node
from gossamer.trace.run import run
from gossamer.trace.tensors import array_of, dtype_named, tensor_of


@graph_pass(order=20)
def fold_batch_norm(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Multiply each neuron's weights by what its normalisation would; the rest goes into the bias.

    Done where the norm alone reads the layer: behind a convolution, and behind a linear layer on inputs of two
    dimensions: with more of them a batch norm follows the second and a linear layer the last. A linear layer then
    takes no other number of dimensions.

    Args:
        graph: Graph.
        inputs: the example.

    Returns:
        Rewritten - no connection is added or removed; a norm that stays is named with the reason.

    Cost: O(connections); one run of the example where there is a batch norm.
    Source: Jacob et al. 2018, section 3.2; the arithmetic is torch.nn.utils.fusion.

    Example:
        >>> from torch import nn
        >>> from gossamer.trace.read import call_of, read
        >>> linear, norm = Linear(read(nn.Linear(2, 2))), call_of(nn.BatchNorm1d(2).eval())
        >>> nodes = (Node("a", ("x",), linear), Node("b", ("a",), norm))
        >>> [node.name for node in fold_batch_norm(Graph(("x",), nodes, "b"), (torch.ones(1, 2),)).graph.nodes]
        ['a']
    """
    norms = [node for node in graph.nodes if isinstance(node.body, Call) and node.body.op == "batch_norm"]
    linear = {node.name for node, _ in graph.linears()}
    if not any(node.inputs[0] in linear for node in norms):
        return Rewritten(graph)
    dims: dict[str, int] = {}

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        dims[node.name] = given[0].dim() if given and isinstance(given[0], Tensor) else 0

    run(graph, inputs, watch)
    why_not: list[str] = []
    for name in [norm.name for norm in norms]:
        norm = next(node for node in graph.nodes if node.name == name)  # may read the layer by now
        if norm.inputs[0] not in linear:
            continue
        source = next(node for node in graph.nodes if node.name == norm.inputs[0])
        folded = _folded(graph, source, norm, dims[norm.name])
        if isinstance(folded, str):
            why_not.append(f"the batch norm {norm.name!r} is not folded into {source.name!r}: {folded}")
        else:
            graph = graph.replaced({source.name: folded}).without(norm.name)
    return Rewritten(graph, tuple(why_not))


def _folded(graph: Graph, source: Node, norm: Node, dims: int) -> Linear | str:
    """The layer with the norm in it, or why not."""
    layer, call = source.body, norm.body
    if not isinstance(layer, Linear) or not isinstance(call, Call):
        raise TypeError("a batch norm behind a layer")
    if graph.only_consumer(source.name) is None:
        return "others read the layer too"
    if dims != (2 if layer.geometry is None else 4):
        return f"its inputs have {dims} dimensions"
    connections, tensors = layer.connections, call.tensors
    if {name_of(tensor) for tensor in tensors.values()} != {name_of(connections.values)}:
        return "its numbers are of another type"
    scale, bias = _scale_and_bias(connections, call)
    values = tensor_of(connections.values) * scale[tensor_of(connections.rows)]
    if not bool(values.isfinite().all() & bias.isfinite().all()):
        return "the numbers would not be finite"
    folded = replace(connections, values=array_of(values), bias=array_of(bias))
    return replace(layer, connections=folded, flat=layer.geometry is None)


def _scale_and_bias(connections: Connections, call: Call) -> tuple[Tensor, Tensor]:
    """[out_features] each: what multiplies a neuron's weights, and its new bias."""
    held: Any = call.tensors
    ones = torch.ones(connections.shape[0], 1, dtype=dtype_named(name_of(connections.values)))
    weight, bias = fuse_linear_bn_weights(
        ones,
        None if connections.bias is None else tensor_of(connections.bias),
        held["mean"],
        held["variance"],
        call.settings.eps,  # type: ignore[attr-defined]
        held.get("weight", ones.squeeze(1)),
        held.get("bias", torch.zeros_like(ones.squeeze(1))),
    )
    return weight.detach().squeeze(1), bias.detach()
