"""A depth-wise convolution reads pixels where they lie in channels, instead of after they were shuffled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.layouts.arrays import Array, aligned
from gossamer.layouts.connections import Connections
from gossamer.layouts.geometry import Geometry
from gossamer.network.graph import Call, Graph, Linear, Node


@graph_pass(order=7)
def fold_shuffle(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """Let depth-wise convolutions whose stride the factor of a pixel shuffle divides read what was shuffled.

    Every output reads pixels of the same phases, so each of its taps is one channel of the small images: the products
    are the same, and as many. What is left is a sparse convolution of all channels.

    Args:
        graph: Graph - of layers that are being frozen.
        inputs: the example; not looked at.

    Cost: O(connections) of these convolutions.

    Example:
        >>> from torch import nn
        >>> from gossamer.network.operators import operators
        >>> from gossamer.trace.read import layer_of
        >>> shuffle = Call("pixel_shuffle", operators["pixel_shuffle"].settings(factor=2))
        >>> conv = layer_of(nn.Conv2d(3, 3, 3, stride=2, padding=1, groups=3))
        >>> graph = Graph(("x",), (Node("a", ("x",), shuffle), Node("b", ("a",), conv)), "b")
        >>> body = fold_shuffle(graph, ()).graph.nodes[0].body
        >>> body.geometry.channels, body.geometry.kernel, body.connections.positions.size
        (12, (2, 2), 27)
    """
    del inputs
    for node in graph.nodes:
        readers = graph.consumers(node.name)
        if not isinstance(node.body, Call) or node.body.op != "pixel_shuffle" or node.name == graph.output:
            continue
        bodies = {reader.name: _folded(reader, node.body.settings) for reader in readers}
        made = {name: body for name, body in bodies.items() if body is not None}
        if readers and len(made) == len(bodies):
            graph = graph.replaced(made).without(node.name)
    return Rewritten(graph)


def _folded(node: Node, shuffle: Any) -> Linear | None:
    """The convolution of the small images; None where there is none."""
    body = node.body
    if not isinstance(body, Linear) or body.geometry is None or len(node.inputs) > 1:
        return None
    geometry, factor = body.geometry, shuffle.factor
    depthwise = geometry.groups == geometry.channels
    zeros = geometry.mode == "zeros" or not any(geometry.padding)
    if not (depthwise and zeros) or any(step % factor for step in geometry.stride):
        return None
    left, right, top, bottom = geometry.padding
    high = _side(geometry.kernel[0], geometry.dilation[0], top, bottom, factor)
    wide = _side(geometry.kernel[1], geometry.dilation[1], left, right, factor)
    if min(high[2], wide[2]) < 0:  # pixels at the end that nobody reads
        return None
    kernel = (int(high[0].max()) + high[1] + 1, int(wide[0].max()) + wide[1] + 1)
    around = (wide[1], wide[2], high[1], high[2])
    stride = (geometry.stride[0] // factor, geometry.stride[1] // factor)
    small = Geometry(geometry.channels * factor**2, kernel, stride, around)
    held = _moved(body.connections, geometry, small, (high, wide), shuffle)
    return replace(body, connections=held, geometry=small)


Side = tuple[Array, int, int, Array]  # place and phase of each tap; border before and behind


def _side(kernel: int, dilation: int, before: int, behind: int, factor: int) -> Side:
    """Of each tap along one side the place in the small image, borders, and the phase."""
    places = np.arange(kernel) * dilation - before
    tap, phase = np.divmod(places, factor)
    front = max(0, -int(tap.min()))
    reach = dilation * (kernel - 1) + 1
    return tap, front, (before + behind - reach) // factor + int(tap.max()) + 1, phase


def _moved(
    held: Connections, old: Geometry, new: Geometry, sides: tuple[Side, Side], shuffle: Any
) -> Connections:
    """The same connections in the columns of the new kernel."""
    (tap_y, front_y, _, phase_y), (tap_x, front_x, _, phase_x) = sides
    each, factor = held.shape[0] // old.groups, shuffle.factor
    y, x = np.divmod(held.cols, old.kernel[1])
    channel = held.rows // each
    phase = phase_y[y] * factor + phase_x[x]
    orders = {
        "channel first": channel * factor**2 + phase,
        "pixel first": phase * old.channels + channel,
    }
    column = ((tap_y[y] + front_y) * new.kernel[1] + tap_x[x] + front_x) * new.channels + orders[
        shuffle.order
    ]
    shape = (held.shape[0], new.columns)
    positions = held.rows * shape[1] + column
    order = positions.argsort()
    return Connections(shape, positions[order], aligned(held.values[order]), held.bias)
