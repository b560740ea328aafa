"""A recurrent layer as nodes: for each layer and direction the product with its inputs, and the steps behind it."""

from __future__ import annotations

from typing import Any, cast

from torch import fx, nn

from gossamer.layouts import layout
from gossamer.network.graph import Call, Linear, Node
from gossamer.network.operators.concatenate import Along
from gossamer.network.operators.recurrent import Cell, tensors_of
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


def output_alone(node: fx.Node) -> list[fx.Node] | None:
    """The nodes that take the output of a recurrent layer; None where its last state is read, too."""
    taken = []
    for user in node.users:
        if not user.users:
            continue  # unpacked and never read
        if getattr(user.target, "__name__", "") != "getitem" or user.args[1] != 0:
            return None
        taken.append(user)
    return taken


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
