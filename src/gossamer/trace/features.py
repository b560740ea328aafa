"""Which features of which values live and die together, and what is known of them: channels of images, neurons of rows.

A feature is a channel of [batch, channels, ...], or a number of [..., features]. Every feature that a layer computes
has a fate of its own, and what it passes through on its way to other layers may tie fates together. Freezing asks which
of them are dead, pruning which are worth least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.layouts import layout
from gossamer.layouts.arrays import cast, name_of
from gossamer.network.graph import Call, Graph, Linear, Node, Opaque
from gossamer.network.operators import operators
from gossamer.trace.heads import torch_call
from gossamer.trace.held import IMAGE, ROW, Features, Held
from gossamer.trace.passing import WAYS, Passed
from gossamer.trace.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections


def walked(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Features:
    """The features of a graph of layers that are being frozen.

    Args:
        graph: Graph.
        shapes: of values, as far as they are known; sums and operators on images are looked into where they are.

    Returns:
        Features.

    Cost: O(connections).
    """
    found = Features()
    for node in graph.nodes:
        made = None
        if isinstance(node.body, Linear):
            made = _layer(found, node, node.body)
        elif isinstance(node.body, Call):
            made = _call(found, node, node.body, shapes)
        elif isinstance(node.body, Opaque):
            made = torch_call(found, node, node.body, shapes)
        if made is None:
            found.pin(node.inputs, f"read as a whole by {_said(node)}")
        else:
            found.held[node.name] = made
    found.pin((graph.output,), "the output of the network")
    return found


def _said(node: Node) -> str:
    """A node in words."""
    if isinstance(node.body, Opaque):
        return node.body.what
    return f"{node.body.op} {node.name!r}" if isinstance(node.body, Call) else f"layer {node.name!r}"


def feature_of(body: Linear) -> Array:
    """[connections], int64: the feature of the input that each connection reads."""
    cols, geometry = body.connections.cols, body.geometry
    if geometry is None:
        return cols
    inner = geometry.channels // geometry.groups
    group = body.connections.rows // (body.connections.shape[0] // geometry.groups)
    feature: Array = group * inner + cols % inner
    return feature


def foldable(body: Linear, x: Held) -> Array:
    """[features], bool: constants whose share of a layer's sums is the same number everywhere.

    A border of zeros around an image of another constant is seen at the edges.
    """
    geometry = body.geometry
    if geometry is None or geometry.mode != "zeros" or not any(geometry.padding):
        return x.known
    nothing: Array = (x.constants == 0).numpy()
    return x.known & nothing


def told(body: Linear, constants: Tensor, which: Array) -> Array:
    """[out], float64: what the bias becomes when these constant features are told to it."""
    connections = body.connections
    values = np.where(which, cast(array_of(constants), "float64"), 0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities go on as they would in sums
        each = cast(connections.values, "float64") * values[feature_of(body)]
    share = np.bincount(connections.rows, each, minlength=connections.shape[0])
    bias: Array = share if connections.bias is None else cast(connections.bias, "float64") + share
    return bias


def _layer(found: Features, node: Node, body: Linear) -> Held | None:
    """A layer has features of its own; where it adds a residual, both are taken as a whole."""
    if len(node.inputs) > 1 or body.activation is not None:
        return None
    connections, geometry = body.connections, body.geometry
    x = found.held.get(node.inputs[0])
    wanted = (connections.shape[1], ROW) if geometry is None else (geometry.channels, IMAGE)
    if x is not None and (x.fates.size, x.axis) != wanted:
        found.pin(node.inputs, f"read as a whole by {_said(node)}")
        x = None
    mine = found.new(connections.shape[0])
    _keep_whole(found, body, None if x is None else x.fates, mine)
    known = connections.fan_in() == 0
    constants = _bias(connections)
    if x is not None:
        able = foldable(body, x)
        told_all = np.bincount(connections.rows, ~able[feature_of(body)], minlength=connections.shape[0]) == 0
        constants = tensor_of(cast(told(body, x.constants, able), name_of(connections.values)))
        known = known | told_all
    return Held(mine, ROW if geometry is None else IMAGE, constants, known)


def _bias(connections: Connections) -> Tensor:
    zeros = np.zeros(connections.shape[0], connections.values.dtype)
    return tensor_of(zeros if connections.bias is None else connections.bias)


def _keep_whole(found: Features, body: Linear, x: Array | None, mine: Array) -> None:
    """What the layout, or the groups of a convolution, let go only as a whole."""
    connections, geometry = body.connections, body.geometry
    trained = connections.trained
    rows, cols = (1, 1) if trained is None else layout(trained.layout).whole(trained.parameters)
    _parts(found, mine, rows)
    if x is None:
        if geometry is not None and geometry.groups > 1:
            found.pinned.append((mine, "groups of channels that cannot be followed"))
        return
    if geometry is None or geometry.groups == 1:
        _parts(found, x, cols)
    else:
        groups = geometry.groups
        found.together.append(np.concatenate((x.reshape(groups, -1), mine.reshape(groups, -1)), axis=1))


def _parts(found: Features, fates: Array, size: int) -> None:
    if fates.size % size:
        found.pinned.append((fates, "no whole number of the parts that its layout keeps whole"))
    elif size > 1:
        found.together.append(fates.reshape(-1, size))


def _call(found: Features, node: Node, body: Call, shapes: Mapping[str, tuple[int, ...]]) -> Held | None:
    """Of an operator; None where it needs its inputs as a whole."""
    inputs = [found.held[name] for name in node.inputs if name in found.held]
    if len(inputs) < len(node.inputs):
        return None
    entry = operators[body.op]
    if entry.elementwise:
        return inputs[0]._replace(constants=body(inputs[0].constants))
    before, after = shapes.get(node.inputs[0]), shapes.get(node.name, ())
    way = WAYS.get(entry.channels(body.settings))
    return None if before is None or way is None else way(found, Passed(body, inputs, before, after))
