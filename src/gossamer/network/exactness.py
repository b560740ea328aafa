"""Where NumPy does not give the bits that torch gives, or gives nothing at all."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gossamer.network.chain_step import in_core
from gossamer.network.graph import Call, Graph, Layer, Node
from gossamer.network.lowering import NotLowered
from gossamer.network.operators import operators
from gossamer.network.stretch_works import works
from gossamer.network.stretches import Stretch, segments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.network.shapes import Value


class Difference(NamedTuple):
    """A node that arrays do not compute as tensors do.

    Args:
        node: str - its name.
        what: str - in words.
        needs_torch: bool - arrays do not compute it at all; else they do, to within rounding.
    """

    node: str
    what: str
    needs_torch: bool


def differences(graph: Graph, values: Mapping[str, Value]) -> list[Difference]:
    """Every node of a network that arrays do not compute to the bit as a Frozen does.

    Args:
        graph: Graph - of calls and layers.
        values: of every name, as ``follow`` gives them.

    Example:
        >>> from gossamer.network.shapes import Value
        >>> nodes = (Node("a", ("x",), Call("relu")), Node("b", ("a",), Call("batch_norm")))
        >>> values = dict.fromkeys("xab", Value("float64", (0, 3)))
        >>> differences(Graph(("x",), nodes, "b"), values)
        [Difference(node='b', what='batch_norm', needs_torch=False)]
    """
    found = [Difference(name, f"inputs of {values[name].dtype}", True) for name in graph.inputs
             if values[name].dtype in ("bfloat16", "float16")]  # fmt: skip
    planned = _planned(graph, values)
    for node in graph.nodes:
        each = _layer(node, node.body) if isinstance(node.body, Layer) else _call(node, values)
        found += [] if each is None or node.name in planned else [each]
    return found


def _planned(graph: Graph, values: Mapping[str, Value]) -> set[str]:
    """Names of the nodes that one call into the core computes, of tensors and of arrays, in every batch class."""
    classes = max((len(body.choices) for _, body in graph.layers()), default=0)
    each = [_lowered(graph, values, number) for number in range(classes)]
    return set.intersection(*each) if each else set()


def _lowered(graph: Graph, values: Mapping[str, Value], batch_class: int) -> set[str]:
    names = set[str]()
    for part in segments(graph, batch_class):
        if isinstance(part, Stretch) and all(values[name].dtype == "float32" for name in part.reads):
            with suppress(NotLowered):
                works(part, batch_class, tuple([values[name].shape[1:] for name in part.reads]))
                names.update(node.name for node in part.nodes)
    return names


def _layer(node: Node, body: Layer) -> Difference | None:
    """Layers of the core have the same bits; what torch's vendor library adds up has not."""
    for choice in body.choices:
        form = body.forms[choice.layout]
        if not in_core(form):
            return Difference(node.name, f"a layer of {body.stored.dtype} in layout {choice.layout}", True)
    by_torch = any(choice.engine == "torch" for choice in body.choices)
    return Difference(node.name, "a dense convolution, which torch computes", False) if by_torch else None


def _call(node: Node, values: Mapping[str, Value]) -> Difference | None:
    if not isinstance(node.body, Call):
        raise TypeError("artifacts hold calls and layers only")
    entry = operators[node.body.op]
    if entry.same_bits(values[node.inputs[0]].dtype):
        return None
    return Difference(node.name, entry.name, entry.arrays is None and not entry.in_core)
