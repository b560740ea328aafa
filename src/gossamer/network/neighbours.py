"""Who reads whom, and through what: one answer for ablation, pruning and freezing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from gossamer.network.graph import Call, Graph
from gossamer.network.operators import operators

if TYPE_CHECKING:
    from collections.abc import Container

    from torch import Tensor


@dataclass(frozen=True)
class Link:
    """Two layers in a row.

    Args:
        source: str - name of the layer whose outputs are read.
        through: tuple of Call - operators between them, which act number by number.
        reader: str - name of the only layer that reads them.
    """

    source: str
    through: tuple[Call, ...]
    reader: str

    def constants(self, bias: Tensor) -> Tensor:
        """[neurons]: what neurons of the source layer without inputs give to the reader, in evaluation."""
        for call in self.through:
            bias = call(bias)
        return bias


def link(graph: Graph, source: str, layers: Container[str]) -> Link | None:
    """The layer that alone reads another, directly or through operators that act number by number.

    Args:
        graph: Graph.
        source: str - name of a layer.
        layers: names of all layers.
    Returns:
        Link, or None where something else reads it, too, or in between.
    Cost: O(nodes) for each operator in between.
    Example:
        >>> from gossamer.network.graph import Node
        >>> names = (("a", "x"), ("b", "a"), ("c", "b"))
        >>> nodes = tuple(Node(name, (read,), Call("relu")) for name, read in names)
        >>> link(Graph(("x",), nodes, "c"), "a", {"a", "c"}).reader
        'c'
    """
    through: list[Call] = []
    node = graph.only_consumer(source)
    while node is not None and node.name not in layers:
        if not is_elementwise(node.body):
            return None
        through.append(node.body)
        node = graph.only_consumer(node.name)
    return None if node is None else Link(source, tuple(through), node.name)


def is_elementwise(body: object) -> TypeGuard[Call]:
    """Whether what a node computes acts on every number alike."""
    return isinstance(body, Call) and operators[body.op].elementwise
