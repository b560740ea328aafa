"""Which axis of a value is time, followed through a network: what streams may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.errors import ConfigError
from gossamer.network.graph import Call, Graph, Layer, Node, Opaque
from gossamer.network.operators import operators
from gossamer.network.operators.together import LAST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.network.operators.base import Shape

HINT: Final = "call the network itself with whole sequences"


def check_times(graph: Graph, shapes: Mapping[str, Shape], time: int) -> None:
    """Refuse a network of which any part but its recurrent layers computes with several times at once.

    Args:
        graph: Graph - every linear layer with its forms.
        shapes: name -> that of each input in the example.
        time: int - axis of time of the inputs.

    Raises:
        ConfigError: such a node, by name, or one of which that is not known.

    Cost: O(nodes).
    """
    sizes, times = dict(shapes), dict.fromkeys(shapes, time)
    for node in graph.nodes:
        read = [(sizes[name], times[name]) for name in node.inputs]
        made = _followed(node, tuple(size for size, _ in read), tuple(at for _, at in read))
        if made is None:
            raise ConfigError(
                "stream",
                expected="a network that acts on each time by itself, but for its recurrent layers",
                got=f"{node.name!r} ({_named(node)}), of which that is not known",
                hint=HINT,
            )
        sizes[node.name], times[node.name] = made


def _named(node: Node) -> str:
    """What it is, in words."""
    if isinstance(node.body, Call):
        return node.body.op
    return node.body.what if isinstance(node.body, Opaque) else "a layer"


def _followed(node: Node, shapes: tuple[Shape, ...], times: tuple[int, ...]) -> tuple[Shape, int] | None:
    """Shape and axis of time of what a node gives; None where times mix, or may."""
    body = node.body
    if isinstance(body, Opaque):
        return ((*shapes[0], body.row), times[0]) if body.row is not None and len(shapes) == 1 else None
    if isinstance(body, Layer):
        shape = (*shapes[0][:-1], body.shape[0])
        apart = body.geometry is None and len(set(times)) == 1 and times[0] < len(shape) - 1
        return (shape, times[0]) if apart else None
    if not isinstance(body, Call):
        raise TypeError("choose() gives every linear layer its forms first")
    entry = operators[body.op]
    shape = entry.shape(shapes, body.settings)
    if set(times) == {LAST} and entry.step is None:  # nothing is left to mix
        return shape, LAST
    if LAST in times:
        return None
    if entry.elementwise and len(shapes) == 1:
        return shape, times[0]
    time = entry.times(shapes, body.settings, times)
    return None if time is None else (shape, time)
