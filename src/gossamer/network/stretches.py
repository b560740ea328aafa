"""The parts of a network that run as one call over planes: convolutions, and what stands between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gossamer.network.conv_step import unfit
from gossamer.network.graph import Call, Graph, Layer, Node
from gossamer.network.operators import operators

if TYPE_CHECKING:
    from collections.abc import Iterable


class Stretch(NamedTuple):
    """Nodes that follow each other, names of the values that they read, and of those that others read."""

    nodes: tuple[Node, ...]
    reads: tuple[str, ...]
    gives: tuple[str, ...]


def segments(
    graph: Graph, batch_class: int, barred: frozenset[str] = frozenset(), results: tuple[str, ...] = ()
) -> list[Node | Stretch]:
    """All nodes, in an order in which they can run, as many of them as possible in few stretches.

    Args:
        graph: Graph - of calls and layers.
        batch_class: int - which of the choices.
        barred: names of nodes that are in no stretch.
        results: names of values that others read, beside the graph's output.

    Returns:
        list of Node and Stretch. A stretch has a convolution that runs in the core.

    Example:
        >>> nodes = (Node("a", ("x",), Call("relu")),)
        >>> [each.name for each in segments(Graph(("x",), nodes, "a"), 0)]
        ['a']
    """
    images = _images(graph)
    found: list[Node | Stretch] = []
    left = list(graph.nodes)
    while left:
        before, members, left = _first(left, images, batch_class, barred)
        found += before
        if any(isinstance(node.body, Layer) for node in members):
            found.append(_stretch(graph, members, results))
        else:
            found += members
    return found


def _first(
    nodes: Iterable[Node], images: set[str], batch_class: int, barred: frozenset[str]
) -> tuple[list[Node], list[Node], list[Node]]:
    """Nodes that read nothing of the first stretch, those of it, and those that need it."""
    before, members, after = list[Node](), list[Node](), list[Node]()
    inside, behind = set[str](), set[str]()
    for node in nodes:
        reads = set(node.inputs)
        if not reads & behind and node.name not in barred and lowerable(node, images, batch_class):
            members.append(node)
            inside.add(node.name)
        elif reads & (behind | inside):
            after.append(node)
            behind.add(node.name)
        else:
            before.append(node)
    return before, members, after


def lowerable(node: Node, images: set[str], batch_class: int) -> bool:
    """Whether the core may have steps for a node, as far as can be said without shapes."""
    body = node.body
    if isinstance(body, Layer):
        choice = body.choices[batch_class]
        by_core = body.geometry is not None and choice.engine == "core"
        return by_core and not unfit(body.forms[choice.layout], body.geometry)
    return isinstance(body, Call) and operators[body.op].lowers and node.inputs[0] in images


def _images(graph: Graph) -> set[str]:
    """Names of values that are images, [batch, channels, height, width]."""
    images = {name for node in graph.nodes if _convolves(node) for name in (*node.inputs, node.name)}
    for node in graph.nodes:
        if (
            isinstance(node.body, Call)
            and node.inputs[0] in images
            and _gives_images(node.body, len(node.inputs))
        ):
            images.add(node.name)
    return images


def _convolves(node: Node) -> bool:
    return isinstance(node.body, Layer) and node.body.geometry is not None


def _gives_images(body: Call, count: int) -> bool:
    """Whether an operator makes images of images: asked with some that are as good as any."""
    try:
        return len(operators[body.op].shape(((1, 64, 64, 64),) * count, body.settings)) == 4
    except ValueError:  # it wants others
        return operators[body.op].lowers


def _stretch(graph: Graph, members: list[Node], results: tuple[str, ...]) -> Stretch:
    inside = {node.name for node in members}
    reads = dict.fromkeys(name for node in members for name in node.inputs if name not in inside)
    outer = {name for node in graph.nodes if node.name not in inside for name in node.inputs}
    outer |= {graph.output, *results}
    return Stretch(tuple(members), tuple(reads), tuple(node.name for node in members if node.name in outer))
