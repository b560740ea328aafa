"""From a torch model to a frozen graph, by torch.fx; and layer by layer where that is not possible."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from gossamer.deploy.connections import Connections, read
from gossamer.deploy.graph import Call, Graph, Linear, Node, Opaque
from gossamer.deploy.operators import Operator, find_module, operators
from gossamer.nn import DenseLinear, SparseModule

if TYPE_CHECKING:
    from collections.abc import Callable

# What a model's own code raises on a symbolic value: it branched on it, indexed with it, counted it.
UNTRACEABLE = (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)


class _Tracer(fx.Tracer):
    """Layers of ours and everything an operator knows are leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (SparseModule, DenseLinear)) or find_module(m) is not None
        return known or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: tuple[Any, ...]) -> Graph | str:
    """Trace a model and check on the example that the graph computes what the model does.

    Args:
        model: nn.Module - in evaluation mode.
        example: its inputs.

    Returns:
        Graph, or a sentence that says why there is none.

    Cost: two forward passes.

    Example:
        >>> from torch import nn
        >>> g = trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Dropout()).eval(), (torch.ones(1, 2),))
        >>> [(node.name, node.inputs) for node in g.nodes]
        [('0', ('input_1',)), ('1', ('0',))]
    """
    if model._forward_hooks or model._forward_pre_hooks:  # noqa: SLF001 (torch has no public question)
        return "the model carries forward hooks"
    try:
        traced = _Tracer().trace(model)
        graph = _Reader(model, traced).graph(len(example))
    except UNTRACEABLE as error:
        first = str(error).partition("\n")[0]
        return f"torch.fx cannot trace it ({type(error).__name__}: {first})"
    expected, got = model(*example), graph.run(example)
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor):
        return f"it returns {type(expected).__name__} and not one tensor"
    if expected.shape != got.shape or not agree(expected, got):
        return "its trace does not reproduce it"
    return graph


def agree(expected: Tensor, got: Tensor) -> bool:
    """Whether two outputs differ by rounding only: up to 1e-3 of the largest number in single precision."""
    scale = 1e-3 if expected.dtype == torch.float32 else max(1e-9, 8 * torch.finfo(expected.dtype).eps)
    expected, got = expected.detach(), got.detach()
    finite = expected.isfinite()
    largest = float(expected[finite].abs().max()) if bool(finite.any()) else 0.0
    return torch.allclose(expected, got, rtol=scale, atol=scale * max(largest, 1e-6), equal_nan=True)


class _Reader:
    """Turns fx nodes into ours, one by one."""

    def __init__(self, model: nn.Module, traced: fx.Graph) -> None:
        self.modules = dict(model.named_modules())
        self.owner, self.traced = model, traced
        self.names: dict[fx.Node, str] = {}
        self.taken: set[str] = set()

    def graph(self, given: int) -> Graph:
        """The whole graph, nodes that do nothing left out."""
        inputs: list[str] = []
        nodes: list[Node] = []
        output: Any = None
        for node in self.traced.nodes:
            if node.op == "output":
                output = node.args[0]
                continue
            name = self._name(node)
            if node.op == "placeholder":
                if len(inputs) == given and not node.args:
                    raise TypeError(f"it takes more than the {given} inputs of the example")
                if len(inputs) < given:
                    inputs.append(name)
                    continue
            nodes.append(Node(name, *self._read(node)))
        if not isinstance(output, fx.Node):
            raise TypeError("it returns more than one tensor")
        graph = Graph(tuple(inputs), tuple(nodes), self.names[output])
        for node in nodes:
            if isinstance(node.body, Call) and node.body.op == "identity":
                graph = graph.without(node.name)
        return _used(graph)

    def _name(self, node: fx.Node) -> str:
        """The layer's name in the model, or fx's own; made unique, for a layer may be used twice."""
        wanted = str(node.target) if node.op == "call_module" else node.name
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}:{number}"
        self.taken.add(name)
        self.names[node] = name
        return name

    def _read(self, node: fx.Node) -> tuple[tuple[str, ...], Call | Linear | Opaque]:
        """Inputs and body of a node."""
        if node.op == "call_module":
            known = self._module(node)
        elif node.op in ("call_function", "call_method"):
            known = self._call(node)
        else:
            known = None
        if known is not None:
            inputs, body = known
            return tuple(self.names[i] for i in inputs), body
        return self._opaque(node)

    def _module(self, node: fx.Node) -> tuple[list[fx.Node], Call | Linear] | None:
        """A linear layer or a module of the whitelist, called with one tensor."""
        module = self.modules[str(node.target)]
        if node.kwargs or len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
            return None
        inputs = [node.args[0]]
        if (connections := read(module)) is not None:
            return inputs, Linear(connections)
        entry = find_module(module)
        if entry is None:
            return None
        self._not_in_place(node, inputs, bool(getattr(module, "inplace", False)))
        return _settled(entry, inputs, lambda: entry.modules[type(module)](module))

    def _call(self, node: fx.Node) -> tuple[list[fx.Node], Call | Linear] | None:
        """A function or tensor method of the whitelist: tensors first, then numbers."""
        entry = next((o for o in operators.values() if node.target in o.calls), None)
        if entry is None:
            return None
        args, kwargs = list(node.args), dict(node.kwargs)
        if "input" in kwargs:
            args.insert(0, kwargs.pop("input"))
        tensors, rest = args[: entry.arity], args[entry.arity :]
        inputs = [t for t in tensors if isinstance(t, fx.Node)]
        if len(inputs) != entry.arity or _has_nodes((rest, kwargs)):
            return None
        in_place = str(getattr(node.target, "__name__", node.target)).endswith("_") or bool(
            kwargs.get("inplace")
        )
        self._not_in_place(node, inputs, in_place)
        return _settled(entry, inputs, lambda: (entry.calls[node.target](*rest, **kwargs), {}))

    @staticmethod
    def _not_in_place(node: fx.Node, inputs: list[fx.Node], in_place: bool) -> None:
        """Refuse to write over a value that something else reads: a graph of values cannot say that."""
        if in_place and any(len(i.users) > 1 or i.op == "placeholder" for i in inputs[:1]):
            raise TypeError(f"{node.name} writes over a value that is used elsewhere")

    def _opaque(self, node: fx.Node) -> tuple[tuple[str, ...], Opaque]:
        """Whatever else: called as traced, with our values put in for fx's."""
        inputs, args, kwargs, target = node.all_input_nodes, node.args, node.kwargs, node.target
        if target is operator.setitem or str(target).rstrip("_") != str(target) or kwargs.get("inplace"):
            raise TypeError(f"{node.name} writes over a value")

        def run(*values: Any) -> Any:
            table = dict(zip(inputs, values, strict=True))
            filled = fx.node.map_arg((args, kwargs), table.__getitem__)
            return call(*filled[0], **filled[1])

        call, what = self._callable(node.op, target)
        return tuple(self.names[i] for i in inputs), Opaque(what, run)

    def _callable(self, op: str, target: Any) -> tuple[Callable[..., Any], str]:
        """What to call, and how to speak of it."""
        if op == "call_module":
            module = self.modules[target]
            return module, f"module {target!r} ({type(module).__name__})"
        if op == "call_method":
            return lambda this, *args, **kwargs: getattr(this, target)(
                *args, **kwargs
            ), f"tensor method {target!r}"
        if op == "get_attr":
            holder, _, attribute = target.rpartition(".")
            owner = self.modules[holder]
            return lambda: getattr(owner, attribute), f"tensor {target!r}"
        if op == "placeholder":
            return lambda *default: default[0] if default else None, f"default of input {target!r}"
        return target, f"function {getattr(target, '__name__', str(target))!r}"


def _settled(
    entry: Operator, inputs: list[fx.Node], reader: Callable[[], tuple[Any, dict[str, Tensor]]]
) -> tuple[list[fx.Node], Call] | None:
    """The call, or None where its arguments are not ones the operator knows."""
    try:
        settings, tensors = reader()
    except (TypeError, ValueError):  # pydantic's ValidationError is a ValueError
        return None
    return inputs, Call(entry.name, settings, tensors)


def _has_nodes(arguments: Any) -> bool:
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, found.append)
    return bool(found)


def _used(graph: Graph) -> Graph:
    """Without nodes that nothing reads."""
    needed, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return Graph(graph.inputs, tuple(reversed(kept)), graph.output)


def by_layer(model: nn.Module, example: tuple[Any, ...]) -> dict[str, tuple[Connections, Tensor]]:
    """Name -> connections and example input of every linear layer that a forward pass reaches."""
    found: dict[str, tuple[Connections, Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if name and (connections := read(module)) is not None:

            def watch(
                _m: nn.Module, inputs: tuple[Tensor, ...], name: str = name, c: Connections = connections
            ) -> None:
                if inputs:
                    found.setdefault(name, (c, inputs[0].detach()))

            handles.append(module.register_forward_pre_hook(watch))
    try:
        model(*example)
    finally:
        for handle in handles:
            handle.remove()
    return found
