"""A recurrent layer as nodes: for each layer and direction the product with its inputs, and the steps behind it."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from torch import fx, nn

from gossamer.layouts import layout
from gossamer.network.graph import Call, Linear, Node
from gossamer.network.operators.concatenate import Along
from gossamer.network.operators.flatten import Axes
from gossamer.network.operators.recurrent import Cell, tensors_of
from gossamer.network.operators.slice import WHOLE, Span, Spans
from gossamer.nn import GateLinear, Recurrent, SparseGates, SparseModule
from gossamer.nn.opening import OURS, why_closed
from gossamer.trace.read import connections_of, dense_connections, has_hooks


def recurrent_of(module: nn.Module) -> Recurrent | None:
    """A recurrent layer of ours or of torch matrix by matrix; None for any other module, and for what carries hooks.

    Example:
        >>> recurrent_of(nn.GRU(2, 2)).cell, recurrent_of(nn.ReLU())
        ('gru', None)
    """
    if has_hooks(module):
        return None
    if type(module) in OURS:
        return None if why_closed(module) else OURS[type(module)].of(cast("nn.RNNBase", module))
    if type(module) not in OURS.values() or any(has_hooks(part) for part in module.children()):
        return None
    plain = (SparseGates, GateLinear)
    return (
        cast("Recurrent", module)
        if all(type(part) in plain or masked(part) for part in module.children())
        else None
    )


def masked(part: nn.Module) -> bool:
    """Whether it is a sparse matrix of the masked home."""
    return isinstance(part, SparseModule) and part.home == "masked"


class Uses(NamedTuple):
    """What is read of a recurrent layer.

    Args:
        outputs: nodes that take the output.
        times: those that take one time of it -> which.
        states: those that take the last h of one layer and direction -> which.
        others: those in between, and those that nobody reads.
    """

    outputs: list[fx.Node]
    times: dict[fx.Node, int]
    states: dict[fx.Node, int]
    others: list[fx.Node]


def uses_of(node: fx.Node, module: Recurrent) -> Uses | None:
    """What is read of a call; None where that is a state as a whole, or the c of an LSTM."""
    found = Uses([], {}, {}, [])
    for user in _read(node, found):
        if _item(user) == 0:
            found.outputs.append(user)
            found.times.update(
                {each: time for each in user.users if (time := _time(each, module)) is not None}
            )
        elif _item(user) != 1 or not _states(user, module, found):
            return None
    return found


def _states(pair: fx.Node, module: Recurrent, found: Uses) -> bool:
    """Whether all that is read of the last state is the h of a layer and direction."""
    lstm = module.cell == "lstm"
    found.others.append(pair)
    for h in _read(pair, found) if lstm else [pair]:
        if lstm and _item(h) != 0:
            return False
        found.others.append(h)
        for last in _read(h, found):
            number, count = _item(last), module.num_layers * len(module.directions)
            if not isinstance(number, int) or not -count <= number < count:
                return False
            found.states[last] = number % count
    return True


def _item(node: fx.Node) -> Any:
    """The index of ``x[index]``; None for any other call."""
    return node.args[1] if getattr(node.target, "__name__", "") == "getitem" else None


def _time(node: fx.Node, module: Recurrent) -> int | None:
    """The time that ``y[:, time]`` takes, or ``y[time]`` where times are outermost; else None."""
    index = _item(node)
    if module.batch_first and isinstance(index, tuple) and len(index) == 2 and index[0] == slice(None):
        index = index[1]
    elif module.batch_first:
        return None
    return index if isinstance(index, int) else None


def _read(node: fx.Node, found: Uses) -> list[fx.Node]:
    """The users of a node but those that only unpack what nobody reads."""
    dead = {user for user in node.users if _dead(user)}
    found.others.extend(dead)
    return [user for user in node.users if user not in dead]


def _dead(node: fx.Node) -> bool:
    return _item(node) is not None and all(_dead(user) for user in node.users)


def one_time(name: str, reads: str, module: Recurrent, time: int) -> tuple[Node, Node]:
    """The nodes of one time of [times, batch, features], or of [batch, times, features]."""
    span: Span = (time, time + 1 if time != -1 else None, 1)
    part = Spans(spans=(WHOLE, span) if module.batch_first else (span,))
    first = int(module.batch_first)
    flat = Axes(start_dim=first, end_dim=first + 1)
    return Node(f"{name}:part", (reads,), Call("slice", part)), Node(
        name, (f"{name}:part",), Call("flatten", flat)
    )


def last_of(name: str, module: Recurrent, number: int) -> tuple[Node, Node]:
    """The nodes of the last h of one layer and direction."""
    layer, direction = divmod(number, len(module.directions))
    end = module.directions[direction]
    return one_time(f"{name}.h{number}", f"{name}.hh_l{layer}{end}", module, 0 if end else -1)


def nodes_of(name: str, reads: str, module: Recurrent) -> tuple[Node, ...]:
    """The nodes of a whole layer; the last one gives the output.

    Example:
        >>> [node.name for node in nodes_of("rnn", "x", recurrent_of(nn.GRU(2, 2)))]
        ['rnn.ih_l0', 'rnn.hh_l0']
    """
    nodes = list[Node]()
    for number in range(module.num_layers):
        parts = []
        for end in module.directions:
            both = f"{name}.ih_l{number}{end}", f"{name}.hh_l{number}{end}"
            inputs, states = (_connections(module.get_submodule(each[len(name) + 1 :])) for each in both)
            nodes.append(Node(both[0], (reads,), Linear(inputs)))
            nodes.append(Node(both[1], (both[0],), _steps(module, states, bool(end))))
            parts.append(both[1])
        reads = parts[0]
        if len(parts) > 1:
            reads = f"{name}.l{number}"
            nodes.append(Node(reads, tuple(parts), Call("concatenate", Along(dim=-1))))
    return tuple(nodes)


def _connections(matrix: nn.Module) -> Any:
    return connections_of(matrix) if isinstance(matrix, SparseModule) else dense_connections(matrix)


def _steps(module: Recurrent, connections: Any, reverse: bool) -> Call:
    """The recurrent matrix in the layout it was trained in; a dense one as it is."""
    trained = connections.trained
    name, parameters = ("dense", {}) if trained is None else (trained.layout, dict(trained.parameters))
    form = layout(name).encode(connections, parameters)
    settings = Cell(
        cell=cast("Any", module.cell),
        hidden=module.hidden_size,
        reverse=reverse,
        batch_first=module.batch_first,
        layout=name,
        parameters=parameters,
    )
    return Call("recurrent", settings, tensors_of(form, connections.bias))
