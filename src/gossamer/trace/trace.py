"""From a torch model to a frozen graph, by torch.fx; and layer by layer where that is not possible."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gossamer.network.graph import Graph, Linear, Node, Opaque
from gossamer.nn import Recurrent, SparseModule
from gossamer.nn.kinds import kind_of
from gossamer.trace.agreement import same
from gossamer.trace.convolved import over_lines
from gossamer.trace.read import find_module, layer_of, nodes_of
from gossamer.trace.reader import Reader, UnreadableError
from gossamer.trace.run import run
from gossamer.trace.tracer import Tracer

if TYPE_CHECKING:
    from gossamer.trace.calling import Example

# What a model's own code raises on a value that it does not expect: it branched on it, indexed with it, counted it.
REFUSED = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    NameError,
    ArithmeticError,
    AssertionError,
)


def trace(model: nn.Module, example: Example, expected: Any) -> Graph | str:
    """Trace a model and check on the example that the graph computes what the model does.

    Args:
        model: nn.Module - a private copy, in evaluation mode.
        example: Example - its inputs.
        expected: what the model gives for them.

    Returns:
        Graph, or a sentence that says why there is none. A mistake of our own reader is neither: it raises.

    Cost: two forward passes.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gossamer.trace.calling import Example
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Dropout()).eval()
        >>> example = Example.of(model, torch.ones(1, 2))
        >>> g = trace(model, example, model(torch.ones(1, 2)))
        >>> [(node.name, node.inputs) for node in g.nodes]
        [('0', ('input',)), ('1', ('0',))]
    """
    if model._forward_hooks or model._forward_pre_hooks:  # noqa: SLF001 (torch has no public question)
        return "the model carries forward hooks"
    if not isinstance(expected, Tensor):
        return f"it returns {type(expected).__name__} and not one tensor"
    tracer = Tracer(model, {module for module in model.modules() if known(module)})
    try:
        traced = tracer.follow(example)
    except REFUSED as error:
        return f"torch.fx cannot trace it ({_said(error)})"
    try:
        graph = Reader(model, traced).graph()
    except UnreadableError as reason:
        return str(reason)
    try:
        got = run(_guarded(graph), example.values)
    except (UnreadableError, RuntimeError) as reason:
        return f"its trace fails ({_said(reason)})"
    return graph if same(expected, got) else "its trace does not reproduce it"


def known(module: nn.Module) -> bool:
    """Whether a module becomes one node.

    Example:
        >>> known(nn.ReLU()), known(nn.Sequential())
        (True, False)
    """
    ours = isinstance(module, (SparseModule, Recurrent)) or kind_of(module) is not None
    return ours or find_module(module) is not None


def _said(error: BaseException) -> str:
    """Class and first line of an error."""
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _guarded(graph: Graph) -> Graph:
    """The graph with calls that say which one it was where torch refuses its values."""
    nodes = (replace(node, body=_guard(node.name, node.body)) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _guard(name: str, body: Any) -> Any:
    """Errors of a model's own calls, and of torch; a mistake of an operator of ours raises."""
    if isinstance(body, Linear):
        return body
    errors = REFUSED if isinstance(body, Opaque) else (TypeError, RuntimeError, IndexError)

    def run(*values: Any) -> Any:
        try:
            return body(*values)
        except errors as error:
            raise UnreadableError(f"at {name!r}: {_said(error)}") from None

    return Opaque(name, run)


def by_layer(model: nn.Module, example: Example) -> dict[str, tuple[tuple[Node, ...], Tensor]]:
    """Name -> nodes and example input of every linear layer and convolution that a forward pass reaches."""
    found: dict[str, tuple[tuple[Node, ...], Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if name and (layer := layer_of(module)) is not None:
            nodes = nodes_of(name, "x", layer, lines=over_lines(module))

            def watch(
                _m: nn.Module, inputs: tuple[Tensor, ...], name: str = name, nodes: Any = nodes
            ) -> None:
                if inputs:
                    found.setdefault(name, (nodes, inputs[0].detach()))

            handles.append(module.register_forward_pre_hook(watch))
    try:
        example.call(model, example.values)
    finally:
        for handle in handles:
            handle.remove()
    return found
