"""A network that is called time by time: its recurrent layers go on from where the call before ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gossamer.errors import ConfigError, ShapeError
from gossamer.layouts.arrays import Array
from gossamer.network.graph import Call, Graph
from gossamer.network.operators import operators
from gossamer.network.plan import Plan
from gossamer.network.program import Kind, Program, programs
from gossamer.network.times import HINT, check_times


class _Remembering:
    """A recurrent layer with the state after its last call."""

    def __init__(self, step: Any) -> None:
        self.step = step
        self.state: Array | None = None

    def __call__(self, x: Any) -> Any:
        y, self.state = self.step.advance(x, self.state)
        return y


class Stream:
    """Made by ``Runtime.stream()`` and ``Frozen.stream()``; called like the network, with the next times of sequences.

    Calls one after the other give what one call with all times gives, to rounding. Not for several threads. A copy, and
    what is pickled, goes on from its own copy of the state.

    Args:
        source: the network that it streams.
        network: the same on programs of its own.
        layers: name -> its recurrent layers.
    """

    def __init__(self, source: Any, network: Callable[..., Any], layers: Mapping[str, _Remembering]) -> None:
        self.source, self.network, self._layers = source, network, dict(layers)

    def __reduce__(self) -> tuple[Any, ...]:
        return _streamed, (self.source, self.state)  # copies build their own programs

    def __call__(self, *given: Any, **named: Any) -> Any:
        """What the network gives for the next times; raises ShapeError for another number of sequences than before."""
        return self.network(*given, **named)

    def reset(self) -> None:
        """Begin new sequences, with states of zeros."""
        for layer in self._layers.values():
            layer.state = None

    @property
    def state(self) -> dict[str, Array]:
        """Name of a recurrent layer -> [1, hidden, sequences], of an LSTM [2, ..]: h, and c; empty before a call.

        Copies. Setting it goes on from such a state.
        """
        return {name: layer.state.copy() for name, layer in self._layers.items() if layer.state is not None}

    @state.setter
    def state(self, given: Mapping[str, Array]) -> None:
        if set(given) not in ({*self._layers}, set()):
            names = ", ".join(self._layers)
            raise ConfigError("Stream.state", expected=f"a state for each of {names}", got=", ".join(given))
        found = {name: _checked(name, self._layers[name].step, state) for name, state in given.items()}
        self.reset()
        for name, state in found.items():
            self._layers[name].state = state


def _streamed(source: Any, state: Mapping[str, Array]) -> Stream:
    """A stream of a network that goes on from a state."""
    stream: Stream = source.stream()
    stream.state = state
    return stream


def _checked(name: str, step: Any, state: Array) -> Array:
    """A copy of a state that fits a layer."""
    made = np.array(state, dtype=step.dtype, order="C")
    if made.ndim != 3 or made.shape[:2] != (step.parts, step.hidden):
        expected = f"[{step.parts}, {step.hidden}, sequences]"
        raise ShapeError(f"Stream.state {name}", expected=expected, got=str(made.shape))
    return made


def streaming(graph: Graph, report: Plan, kind: Kind) -> tuple[list[Program], dict[str, _Remembering]]:
    """Programs whose recurrent layers remember, and those layers.

    Raises:
        ConfigError: no recurrent layer, one that reads backward, or times that mix elsewhere.
    """
    calls = {node.name: node.body for node in graph.nodes if isinstance(node.body, Call)}
    found = {name: body for name, body in calls.items() if operators[body.op].step is not None}
    backward = [name for name, body in found.items() if getattr(body.settings, "reverse", False)]
    if not found or backward:
        raise ConfigError(
            "stream",
            expected="a network with recurrent layers, all of them in the direction of time",
            got=f"{backward[0]!r}, which begins at the end" if backward else "none",
            hint=HINT,
        )
    shapes = {name: tuple(row.shape) for name, row in zip(graph.inputs, report.inputs, strict=True)}
    settings: Any = next(iter(found.values())).settings
    check_times(graph, shapes, int(settings.batch_first))
    layers = {name: _Remembering(kind.call(body, name)) for name, body in found.items()}
    remembering = kind._replace(call=lambda body, name: layers.get(name) or kind.call(body, name))
    return programs(graph, report, remembering)[0], layers
