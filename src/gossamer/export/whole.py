"""A whole network in the words of ONNX: nodes, constants, and what is known of inputs and output."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gossamer.errors import FormatError
from gossamer.export.layers import layer
from gossamer.network.graph import Call, Graph, Layer, Node
from gossamer.network.operators import operators
from gossamer.network.shapes import Value, follow
from gossamer.network.spelling import NotSpelled, Spelling, type_of
from gossamer.network.verify import check_shapes

if TYPE_CHECKING:
    from gossamer.network.plan import Plan

BATCH = "batch"
SIZES = (2, 3)  # of two batches: what differs depends on it


class Known(NamedTuple):
    """An input or output: its name, type, and sizes; a name for those that depend on the batch."""

    name: str
    type: str
    sizes: tuple[int | str, ...]


class Whole(NamedTuple):
    """A network as it goes into a file of ONNX."""

    words: Spelling
    inputs: tuple[Known, ...]
    output: Known


def spelled(graph: Graph, report: Plan, *, few: bool) -> Whole:
    """The network, every node by its operator.

    Args:
        graph: Graph - of calls and layers.
        report: Plan - whose example gives all sizes but that of the batch.
        few: bool - weights by their numbers and places, where that is smaller.

    Returns:
        Whole.

    Raises:
        FormatError: a node that ONNX has no words for, or shapes that do not fit.

    Cost: O(dense size) time and memory.
    """
    check_shapes(graph, report.inputs)
    values, others = (_sized(graph, report, batch) for batch in SIZES)
    free = {name: tuple(map(int.__ne__, values[name].shape, others[name].shape)) for name in values}
    words, names = Spelling(set(graph.inputs)), {name: name for name in graph.inputs}
    for node in graph.nodes:
        given, made = [values[name] for name in node.inputs], values[node.name]
        types = [type_of(value.dtype) for value in given]
        shapes = [value.shape for value in given]
        words.turn(node.name, shapes, types, made.shape, type_of(made.dtype), free[node.name])
        names[node.name] = _node(words, tuple(names[name] for name in node.inputs), node, few=few)
    output = names[graph.output]
    if output in graph.inputs:  # nothing was computed
        words.node, output = "output", words.emit("Identity", output)

    def known(name: str, shown: str) -> Known:
        value = values[name]
        sizes = zip(value.shape, others[name].shape, strict=True)
        return Known(shown, type_of(value.dtype), tuple(_size(*pair) for pair in sizes))

    return Whole(words, tuple(known(name, name) for name in graph.inputs), known(graph.output, output))


def unspelled(node: Node, what: str) -> FormatError:
    """That a node cannot be exported, and where it stands."""
    return FormatError(
        "export_onnx",
        expected="a network of operators that ONNX has",
        got=f"{what} at {node.name!r}",
        hint="replace it in the model, or export the parts before and behind it",
    )


def _node(words: Spelling, xs: tuple[str, ...], node: Node, *, few: bool) -> str:
    """The name of a node's result."""
    body = node.body
    if isinstance(body, Layer):
        return layer(words, xs, body, few=few)
    spell = operators[body.op].onnx if isinstance(body, Call) else None
    if not isinstance(body, Call) or spell is None:
        raise unspelled(node, "what ONNX does not have")
    try:
        return spell(words, xs, body.settings, body.tensors)
    except NotSpelled as error:
        raise unspelled(node, f"{body.op} of {error}") from None


def _sized(graph: Graph, report: Plan, batch: int) -> dict[str, Value]:
    """All values with a batch of one size; an input of one dimension has none."""
    rows = zip(graph.inputs, report.inputs, strict=True)
    given = {
        name: Value(row.dtype, (batch, *row.shape[1:]) if len(row.shape) > 1 else tuple(row.shape))
        for name, row in rows
    }
    return follow(graph, given, "export_onnx", FormatError)


def _size(size: int, other: int) -> int | str:
    """Of one dimension, from those of two batches."""
    if size == other:
        return size
    return BATCH if (size, other) == SIZES else f"{BATCH}_"
