"""What a file describes: a whole network as a graph, ready to be frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from gossamer.errors import FormatError
from gossamer.network.graph import Call, Graph, Linear, Node
from gossamer.network.operators import operators
from gossamer.network.shapes import LARGEST_IMAGE, Value, follow

if TYPE_CHECKING:
    from typing import Any


class Port(NamedTuple):
    """One input or output of the file.

    Args:
        name: str - in the file.
        shape: of one batch, as the network takes or gives it: images are [batch, channels, height, width].
        first: int - of an output that is joined with others along the last dimension: its first number there.
    """

    name: str
    shape: tuple[int, ...]
    first: int = 0


@dataclass(frozen=True)
class Network:
    """A network of a file.

    Args:
        graph: Graph - of calls and linear layers that are to be frozen.
        inputs: Ports, in order.
        outputs: Ports; several are joined along the last dimension.
        notes: what there is to know of it.
    """

    graph: Graph
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...] = ()


@dataclass
class Builder:
    """Nodes one after the other, with names of their own."""

    inputs: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)

    def call(self, op: str, *reads: str, tensors: dict[str, Any] | None = None, **settings: Any) -> str:
        """Add an operator; the name of its value. Raises pydantic's ValidationError for settings it does not have."""
        return self._add(op, reads, Call(op, operators[op].settings(**settings), tensors or {}))

    def linear(self, name: str, reads: str, body: Linear) -> str:
        """Add a layer."""
        return self._add(name, (reads,), body)

    def _add(self, name: str, reads: tuple[str, ...], body: Call | Linear) -> str:
        name = name.replace("/", ".") or "layer"
        taken = {*self.inputs, *(node.name for node in self.nodes)}
        free = name if name not in taken else f"{name}.{len(self.nodes)}"
        self.nodes.append(Node(free, reads, body))
        return free

    def graph(self, output: str) -> Graph:
        """The nodes that the output needs."""
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        return Graph(self.inputs, tuple(reversed(kept)), output)


def checked(network: Network, where: str) -> Network:
    """A network whose shapes fit each other; raises FormatError, before anything is computed.

    Args:
        network: Network.
        where: str - for messages.
    """
    given = {port.name: Value("float32", port.shape) for port in network.inputs}
    values = follow(network.graph, given, where, FormatError)
    numbers = sum(prod(value.shape) for value in values.values())
    if numbers > LARGEST_IMAGE:
        got = f"{numbers:,}"
        raise FormatError(where, expected=f"at most {LARGEST_IMAGE:,} numbers in all values", got=got)
    made, last = values[network.graph.output].shape, network.outputs[-1]
    wanted = list(last.shape)
    wanted[1 if len(wanted) == 4 else -1] += last.first
    if list(made) != wanted:
        raise FormatError(where, expected=f"an output {wanted}, as the file says", got=f"{list(made)}")
    return network
