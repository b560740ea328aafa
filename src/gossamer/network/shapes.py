"""Shapes and types of all values of a network, followed from its inputs; nothing is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gossamer.errors import GossamerError, ShapeError
from gossamer.layouts.arrays import name_of
from gossamer.network.graph import Call, Graph, Layer, Node
from gossamer.network.operators import operators

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        if isinstance(node.body, Layer):
            values[node.name] = _layer(node.body, given, where, refuse)
        else:
            values[node.name] = _call(node, given, where, refuse)
    return values


def _layer(body: Layer, given: tuple[Value, ...], where: str, refuse: type[GossamerError]) -> Value:
    """Of a linear layer, and of the residual that it adds."""
    x, dtype = given[0], body.stored.dtype
    fits = len(x.shape) == 2 if body.flat else len(x.shape) > 0
    if not fits or x.shape[-1] != body.shape[1] or x.dtype != dtype:
        front = "batch" if body.flat else "..."
        expected = f"an input [{front}, {body.shape[1]}] of {dtype}"
        raise refuse(where, expected=expected, got=f"{list(x.shape)} of {x.dtype}")
    y = Value(dtype, (*x.shape[:-1], body.shape[0]))
    for residual in given[1:]:
        if residual != y:
            expected = f"a residual {list(y.shape)} of {dtype}"
            raise refuse(where, expected=expected, got=f"{list(residual.shape)} of {residual.dtype}")
    return y


def _call(node: Node, given: tuple[Value, ...], where: str, refuse: type[GossamerError]) -> Value:
    """Of an operator."""
    body = node.body
    if not isinstance(body, Call):
        raise TypeError("artifacts hold calls and layers only")
    if strangers := {name_of(held) for held in body.tensors.values()} - {given[0].dtype}:
        raise refuse(where, expected=f"tensors of {given[0].dtype}", got=", ".join(sorted(strangers)))
    entry = operators[body.op]
    try:
        dtype = entry.dtype(tuple(value.dtype for value in given))
        return Value(dtype, entry.shape(tuple(value.shape for value in given), body.settings))
    except ValueError as error:
        raise refuse(where, expected="a node that fits its inputs", got=str(error)) from None
