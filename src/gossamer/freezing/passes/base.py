"""A pass: one rewrite of a graph that is being frozen. Outputs stay, up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from gossamer.errors import ConfigError
from gossamer.network.graph import Graph
from gossamer.registry import Registry


@dataclass(frozen=True)
class Removal:
    """What was removed behind one layer.

    Args:
        layer: str - the layer whose neurons are gone.
        constant: int - neurons without inputs, whose constant output moved into the next layer's bias.
        unread: int - neurons that nothing read.
    """

    layer: str
    constant: int
    unread: int


class Rewritten(NamedTuple):
    """What a pass gives.

    Args:
        graph: Graph.
        why_not: sentences for the report: what the pass looks for, found, and left as it is.
        removed: what it removed, a row for each layer that lost neurons.
    """

    graph: Graph
    why_not: tuple[str, ...] = ()
    removed: tuple[Removal, ...] = ()


Apply = Callable[[Graph, tuple[Any, ...]], Rewritten]


class GraphPass(NamedTuple):
    """An entry: passes run by ascending ``order``; ``apply`` takes a graph and the example's inputs."""

    order: int
    name: str
    apply: Apply


graph_passes: Registry[GraphPass] = Registry("pass")


def graph_pass(order: int) -> Callable[[Apply], Apply]:
    """Make a function a pass of its own name.

    Args:
        order: int - its place; two passes of one place are an error, for their order would be chance.

    Raises:
        ConfigError: a name or a place that is taken.

    Example:
        >>> graph_pass(-1)(lambda graph, inputs: Rewritten(graph)).__name__, graph_passes.remove("<lambda>")
        ('<lambda>', None)
    """

    def add(apply: Apply) -> Apply:
        name = apply.__name__
        for entry in graph_passes.values():
            if entry.order == order:
                got = f"that of {entry.name}"
                raise ConfigError(
                    f"register pass {name}", expected="an order that no other pass has", got=got
                )
        graph_passes.add(name, GraphPass(order, name, apply))
        return apply

    return add


def passes() -> Iterator[GraphPass]:
    """All passes in the order in which they run."""
    return iter(sorted(graph_passes.values()))


def rewritten(graph: Graph, inputs: tuple[Any, ...]) -> Rewritten:
    """A graph after all passes.

    Args:
        graph: Graph - of linear layers that are being frozen.
        inputs: the example.
    """
    why_not: list[str] = []
    removed: list[Removal] = []
    for entry in passes():
        graph, notes, gone = entry.apply(graph, inputs)
        why_not += notes
        removed += gone
    return Rewritten(graph, tuple(why_not), tuple(removed))
