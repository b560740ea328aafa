"""Which features of which values live and die together, and what is known of them: channels of images, neurons of rows.

A feature is a channel of [batch, channels, height, width], or a number of [..., features]. Every feature that a layer
computes has a fate of its own, and what it passes through on its way to other layers may tie fates together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gossamer.layouts import layout
from gossamer.layouts.arrays import cast, name_of
from gossamer.network.graph import Call, Graph, Linear, Node
from gossamer.network.operators import operators
from gossamer.trace.tensors import array_of, tensor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections

ROW, IMAGE = -1, -3  # the dimension in which features stand


class Held(NamedTuple):
    """The features of a value.

    Args:
        fates: [features], int - numbers of fates.
        axis: ROW or IMAGE.
        constants: Tensor [features] - what a feature always is, where that is known.
        known: [features], bool.
    """

    fates: Array
    axis: int
    constants: Tensor
    known: Array


@dataclass
class Features:
    """What a walk through the graph has found.

    Args:
        held: value -> Held; a value whose features nobody can take apart is missing.
        ties: pairs of arrays of fates that are the same.
        together: arrays [parts, members] of fates: of a part all go or none.
        pinned: arrays of fates that stay.
        total: int - fates given out.
    """

    held: dict[str, Held] = field(default_factory=dict)
    ties: list[tuple[Array, Array]] = field(default_factory=list)
    together: list[Array] = field(default_factory=list)
    pinned: list[Array] = field(default_factory=list)
    total: int = 0

    def new(self, number: int) -> Array:
        """Fates that nothing else has."""
        self.total += number
        return np.arange(self.total - number, self.total)

    def pin(self, names: tuple[str, ...]) -> None:
        """These values are read as a whole."""
        self.pinned += [self.held[name].fates for name in names if name in self.held]


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
        if made is None:
            found.pin(node.inputs)
        else:
            found.held[node.name] = made
    found.pin((graph.output,))
    return found


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
        found.pin(node.inputs)
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
            found.pinned.append(mine)
        return
    if geometry is None or geometry.groups == 1:
        _parts(found, x, cols)
    else:
        groups = geometry.groups
        found.together.append(np.concatenate((x.reshape(groups, -1), mine.reshape(groups, -1)), axis=1))


def _parts(found: Features, fates: Array, size: int) -> None:
    if fates.size % size:
        found.pinned.append(fates)
    elif size > 1:
        found.together.append(fates.reshape(-1, size))


def _call(found: Features, node: Node, body: Call, shapes: Mapping[str, tuple[int, ...]]) -> Held | None:
    """Of an operator; None where it needs its inputs as a whole."""
    given = [found.held.get(name) for name in node.inputs]
    inputs = [each for each in given if each is not None]
    sizes = [shapes.get(name, ()) for name in node.inputs]
    if len(inputs) < len(given):
        return None
    entry = operators[body.op]
    if entry.elementwise:
        return inputs[0]._replace(constants=body(inputs[0].constants))
    if not all(sizes) or any(
        len(size) != {ROW: 2, IMAGE: 4}[each.axis] for each, size in zip(inputs, sizes, strict=True)
    ):
        return None
    how, after = entry.channels(body.settings), shapes.get(node.name, ())
    if how == "together":
        return _together(found, body, inputs)
    if how == "joined":
        return _joined(body, inputs)
    if how == "flat":
        return _flat(inputs[0], sizes[0], after)
    return _by_channel(body, how, inputs[0], after)


def _together(found: Features, body: Call, inputs: list[Held]) -> Held | None:
    """Number by number of two values: a feature goes from both or from none."""
    first, second = inputs
    if first.axis != second.axis or first.fates.size != second.fates.size:
        return None
    found.ties.append((first.fates, second.fates))
    constants = body(first.constants, second.constants)
    return Held(first.fates, first.axis, constants, first.known & second.known)


def _joined(body: Call, inputs: list[Held]) -> Held | None:
    """Side by side."""
    settings: Any = body.settings
    axis = inputs[0].axis
    if settings.dim not in (1, axis) or any(each.axis != axis for each in inputs):
        return None
    constants = torch.cat([each.constants for each in inputs])
    fates, known = (np.concatenate([each[at] for each in inputs]) for at in (0, 3))
    return Held(fates, axis, constants, known)


def _flat(x: Held, before: tuple[int, ...], after: tuple[int, ...]) -> Held | None:
    """A channel is as many numbers as it has pixels."""
    if x.axis != IMAGE or after != (before[0], before[1] * before[2] * before[3]):
        return None
    pixels = before[2] * before[3]
    constants = x.constants.repeat_interleave(pixels)
    return Held(np.repeat(x.fates, pixels), ROW, constants, np.repeat(x.known, pixels))


def _by_channel(body: Call, how: str, x: Held, after: tuple[int, ...]) -> Held | None:
    """Operators that make every channel of the same channel alone."""
    axis = {2: ROW, 4: IMAGE}.get(len(after))
    if not how or axis is None:
        return None
    if how == "computed":
        return Held(x.fates, axis, body(x.constants[None])[0], x.known)
    nothing: Array = (x.constants == 0).numpy()
    return Held(x.fates, axis, x.constants, x.known if how == "kept" else x.known & nothing)
