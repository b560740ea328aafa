"""From a traced fx graph to ours: linear layers, operators of the list, and what stays torch."""

from __future__ import annotations

import inspect
import operator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import fx, nn

from gossamer.network.graph import Call, Graph, Linear, Node, Opaque
from gossamer.network.operators import Unsupported
from gossamer.trace.arguments import part_of, said
from gossamer.trace.convolved import over_lines
from gossamer.trace.opaque import Attribute, Method, Slot, TracedCall
from gossamer.trace.read import call_of, find_calls, find_module, find_parts, layer_of, nodes_of
from gossamer.trace.recurrent import last_of, one_time, recurrent_of, uses_of
from gossamer.trace.recurrent import nodes_of as recurrent_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.network.operators import Operator, Settings

Read = tuple[list[fx.Node], Call | Linear]


class UnreadableError(Exception):
    """A trace that a graph of values cannot say; the message is the reason. Nothing else means that."""


class Reader:
    """Turns fx nodes into ours, one by one.

    Args:
        model: nn.Module - what was traced.
        traced: fx.Graph.
    """

    def __init__(self, model: nn.Module, traced: fx.Graph) -> None:
        self.modules = dict(model.named_modules())
        self.traced = traced
        self.names: dict[fx.Node, str] = {}
        self.taken: set[str] = set()

    def graph(self) -> Graph:
        """The whole graph, nodes that do nothing left out; raises UnreadableError."""
        inputs: list[str] = []
        nodes: list[Node] = []
        output: Any = None
        for node in self.traced.nodes:
            if node.op == "output":
                output = node.args[0]
            elif node.op == "placeholder":
                inputs.append(self._name(node))
            else:
                nodes += self._nodes(node)
        if not isinstance(output, fx.Node):
            raise UnreadableError("it returns more than one tensor, or none that depends on its inputs")
        graph = Graph(tuple(inputs), tuple(nodes), self.names[output])
        for each in nodes:
            if isinstance(each.body, Call) and each.body.op == "identity":
                graph = graph.without(each.name)
        return _used(graph)

    def _nodes(self, node: fx.Node) -> tuple[Node, ...]:
        """A node, or those that it comes to."""
        if node in self.names:  # the output of a recurrent layer, which has its name
            return ()
        if (recurrent := self._recurrent(node)) is not None:
            return recurrent
        name = self._name(node)
        inputs, body = self._read(node)
        if not isinstance(body, Linear):
            return (Node(name, inputs, body),)
        made = nodes_of(name, inputs[0], body, lines=over_lines(self.modules[str(node.target)]))
        self.names[node] = made[-1].name
        return made

    def _recurrent(self, node: fx.Node) -> tuple[Node, ...] | None:
        """A recurrent layer, called with sequences alone, of which the output is read, or the last h of a layer."""
        plain = node.op == "call_module" and not node.kwargs and len(node.args) == 1
        if not plain or not isinstance(node.args[0], fx.Node):
            return None
        module = recurrent_of(self.modules[str(node.target)])
        uses = None if module is None else uses_of(node, module)
        if module is None or uses is None:
            return None
        name = self._name(node)
        made = list(recurrent_nodes(name, self.names[node.args[0]], module))
        output = made[-1].name
        self.names |= dict.fromkeys([*uses.outputs, *uses.others], output)
        ends = {each: last_of(name, module, number) for each, number in uses.states.items()}
        ends |= {each: one_time(f"{name}.t{time}", output, module, time) for each, time in uses.times.items()}
        self.names |= {each: nodes[-1].name for each, nodes in ends.items()}
        made += {node.name: node for nodes in ends.values() for node in nodes}.values()
        self.taken.update(each.name for each in made)
        return tuple(made)

    def _name(self, node: fx.Node) -> str:
        """The layer's or the input's name in the model, or fx's own; made unique, for a layer may be used twice."""
        wanted = str(node.target) if node.op in ("call_module", "placeholder") else node.name
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}:{number}"
        self.taken.add(name)
        self.names[node] = name
        return name

    def _read(self, node: fx.Node) -> tuple[tuple[str, ...], Call | Linear | Opaque]:
        """Inputs and body of a node."""
        known = None
        if node.op == "call_module":
            known = self._module(node)
        elif node.op in ("call_function", "call_method"):
            known = self._call(node)
        if known is None:
            return self._opaque(node)
        return tuple(self.names[each] for each in known[0]), known[1]

    def _module(self, node: fx.Node) -> Read | None:
        """A layer or a module of the list, called with one tensor."""
        module = self.modules[str(node.target)]
        if node.kwargs or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
            return None
        inputs = [node.args[0]]
        if (layer := layer_of(module)) is not None:
            return inputs, layer
        if find_module(module) is None:
            return None
        self._not_in_place(node, inputs, bool(getattr(module, "inplace", False)))
        try:
            return inputs, call_of(module)
        except (Unsupported, ValidationError):
            return None

    def _call(self, node: fx.Node) -> Read | None:
        """A function or tensor method of the list, or one of the several values that one gives."""
        for entry, reads in find_calls(node.target):
            given = said(node, entry.arity)
            if given is not None and (call := _settled(entry, reads, given.rest, given.named)) is not None:
                in_place = str(getattr(node.target, "__name__", node.target)).endswith("_")
                self._not_in_place(node, given.inputs, in_place or bool(given.named.get("inplace")))
                return given.inputs, call
        return self._part(node)

    @staticmethod
    def _part(node: fx.Node) -> Read | None:
        """One of the several values that a function or a method gives."""
        if (taken := part_of(node)) is None:
            return None
        source, number = taken
        for entry, reads in find_parts(source.target):
            given = said(source, entry.arity)
            if given is not None:
                call = _settled(entry, reads, [number, *given.rest], given.named)
                return None if call is None else (given.inputs, call)
        return None

    @staticmethod
    def _not_in_place(node: fx.Node, inputs: list[fx.Node], in_place: bool) -> None:
        """Refuse to write over a value that something else reads: a graph of values cannot say that."""
        if in_place and any(len(each.users) > 1 or each.op == "placeholder" for each in inputs[:1]):
            raise UnreadableError(f"{node.name} writes over a value that is used elsewhere")

    def _opaque(self, node: fx.Node) -> tuple[tuple[str, ...], Opaque]:
        """Whatever else: called as traced, with our values put in for fx's."""
        inputs, target = node.all_input_nodes, node.target
        writes = target is operator.setitem or str(target).rstrip("_") != str(target)
        if writes or node.kwargs.get("inplace") or node.kwargs.get("out") is not None:
            raise UnreadableError(f"{node.name} writes over a value")
        call, what = self._callable(node.op, target)
        if node.op != "get_attr":
            what += str(node.meta["place"]._replace(**({"module": ""} if node.op == "call_module" else {})))
        slots: dict[fx.Node, Any] = {each: Slot(number) for number, each in enumerate(inputs)}
        arguments = () if node.op == "get_attr" else node.args
        args, kwargs = fx.node.map_arg((arguments, node.kwargs), slots.__getitem__)
        row = call.embedding_dim if type(call) is nn.Embedding and call.max_norm is None else None
        return tuple(self.names[each] for each in inputs), Opaque(what, TracedCall(call, args, kwargs), row)

    def _callable(self, op: str, target: Any) -> tuple[Callable[..., Any], str]:
        """What to call, and how to speak of it."""
        if op == "call_module":
            module = self.modules[target]
            return module, f"module {target!r} ({type(module).__name__})"
        if op == "call_method":
            return Method(target), f"tensor method {target!r}"
        if op == "get_attr":
            holder, _, attribute = target.rpartition(".")
            return Attribute(self.modules[holder], attribute), f"tensor {target!r}"
        return target, f"function {getattr(target, '__name__', str(target))!r}"


def _settled(entry: Operator, reads: Callable[..., Settings], args: list[Any], named: Any) -> Call | None:
    """The call, or None where its arguments are not ones that the operator knows."""
    try:
        inspect.signature(reads).bind(*args, **named)
    except TypeError:
        return None
    try:
        return Call(entry.name, reads(*args, **named))
    except (Unsupported, ValidationError):
        return None


def _used(graph: Graph) -> Graph:
    """Without nodes that nothing reads."""
    needed, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return Graph(graph.inputs, tuple(reversed(kept)), graph.output)
