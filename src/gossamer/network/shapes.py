"""Shapes and types of all values of a network, followed from its inputs; nothing is computed."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from gossamer.errors import GossamerError, ShapeError
from gossamer.layouts.arrays import name_of
from gossamer.network.graph import Call, Graph, Layer, Linear, Node
from gossamer.network.operators import operators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.layouts.geometry import Geometry


# pixels of a padded plane that are always taken, and times those without a border; numbers of an output for a sample
SMALL_PLANE, LARGEST_BORDER, LARGEST_IMAGE = 1 << 16, 64, 1 << 30


class Value(NamedTuple):
    """What is known of a value before it is computed: the name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def follow(
    graph: Graph, inputs: Mapping[str, Value], operation: str, refuse: type[GossamerError] = ShapeError
) -> dict[str, Value]:
    """Type and shape of every value.

    Args:
        graph: Graph - of calls and layers.
        inputs: name -> Value of each input.
        operation: str - for messages, which name the node too.
        refuse: the class of error to raise.

    Returns:
        name -> Value, inputs included.

    Raises:
        ``refuse``: two nodes that do not fit each other.

    Cost: O(nodes).

    Example:
        >>> from gossamer.network.graph import Node
        >>> graph = Graph(("x",), (Node("a", ("x",), Call("relu")),), "a")
        >>> follow(graph, {"x": Value("float32", (2, 3))}, "example")["a"]
        Value(dtype='float32', shape=(2, 3))
    """
    values = dict(inputs)
    for node in graph.nodes:
        given = tuple(values[name] for name in node.inputs)
        where = f"{operation} {node.name}"
        if isinstance(node.body, (Layer, Linear)):
            values[node.name] = _layer(node.body, given, where, refuse)
        else:
            values[node.name] = _call(node, given, where, refuse)
    return values


def _layer(body: Layer | Linear, given: tuple[Value, ...], where: str, refuse: type[GossamerError]) -> Value:
    """Of a linear layer or a convolution, and of the residual that it adds."""
    x = given[0]
    held = body.stored if isinstance(body, Layer) else body.connections
    dtype, (n_out, n_in) = held.dtype, held.shape
    if body.geometry is None:
        fits = len(x.shape) == 2 if body.flat else len(x.shape) > 0
        fits = fits and x.shape[-1] == n_in
        front = "batch" if body.flat else "..."
        wants = f"[{front}, {n_in}]"
    else:
        fits = len(x.shape) == 4 and x.shape[1] == body.geometry.channels
        wants = f"[batch, {body.geometry.channels}, height, width]"
    if not fits or x.dtype != dtype:
        got = f"{list(x.shape)} of {x.dtype}"
        raise refuse(where, expected=f"an input {wants} of {dtype}", got=got)
    shape = (*x.shape[:-1], n_out)
    if body.geometry is not None:
        shape = _images(body.geometry, n_out, x.shape, where, refuse)
    y = Value(dtype, shape)
    for residual in given[1:]:
        if residual != y:
            expected = f"a residual {list(y.shape)} of {dtype}"
            raise refuse(where, expected=expected, got=f"{list(residual.shape)} of {residual.dtype}")
    return y


def _images(
    geometry: Geometry, n_out: int, shape: tuple[int, ...], where: str, refuse: type[GossamerError]
) -> tuple[int, ...]:
    """[batch, out, height', width'], if planes and borders are of sizes that memory can hold."""
    batch, _, height, width = shape
    try:
        sizes = geometry.out_size(height, width)
    except GossamerError as error:
        raise refuse(where, expected=error.expected, got=error.got) from None
    left, right, top, bottom = geometry.padding
    padded = (height + top + bottom) * (width + left + right)
    if padded > max(SMALL_PLANE, LARGEST_BORDER * height * width):
        raise refuse(
            where,
            expected="borders in proportion to the plane",
            got=f"{padded:,} pixels around {height} x {width}",
        )
    if n_out * prod(sizes) > LARGEST_IMAGE:
        got = f"{[n_out, *sizes]}"
        raise refuse(where, expected=f"at most {LARGEST_IMAGE:,} numbers for each sample", got=got)
    return (batch, n_out, *sizes)


def _call(node: Node, given: tuple[Value, ...], where: str, refuse: type[GossamerError]) -> Value:
    """Of an operator."""
    body = node.body
    if not isinstance(body, Call):
        raise TypeError("artifacts hold calls and layers only")
    entry = operators[body.op]
    typed = body.tensors if entry.typed is None else entry.typed(body.settings)
    held = [body.tensors[name] for name in typed if name in body.tensors]
    if strangers := {name_of(each) for each in held} - {given[0].dtype}:
        raise refuse(where, expected=f"tensors of {given[0].dtype}", got=", ".join(sorted(strangers)))
    try:
        dtype = entry.dtype(tuple(value.dtype for value in given))
        return Value(dtype, entry.shape(tuple(value.shape for value in given), body.settings))
    except ValueError as error:
        raise refuse(where, expected="a node that fits its inputs", got=str(error)) from None
