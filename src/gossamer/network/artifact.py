"""A frozen network in one file, hostile until checked. See docs/artifact-format.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import storage
from gossamer.errors import FormatError, GossamerError, KernelUnavailable, MemoryShortage
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.values import narrow_name
from gossamer.network.graph import Call, Choice, Graph, Layer, Node, Opaque
from gossamer.network.onlookers import on_cpu
from gossamer.network.operators import operators
from gossamer.network.room import room
from gossamer.network.schema import KIND, VERSION, CallPart, Document, LinearPart, parse
from gossamer.network.tensors import array_of, tensor_of
from gossamer.network.verify import check_dense_forms, check_graph, check_layer, check_report, check_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.connections import Connections
    from gossamer.network.plan import Plan


def write(graph: Graph, report: Plan, path: str | Path) -> None:
    """Write a frozen network; a kill while writing leaves the old file.

    Args:
        graph: Graph - of calls and layers.
        report: Plan - how it was frozen.
        path: str or Path.

    Raises:
        FormatError: a node that only torch knows, which the message names, or a network that mixes its batch
            with other dimensions. OSError.

    Cost: one copy of the network in memory, one on disk.
    """
    tensors: dict[str, Tensor] = {}
    nodes: list[dict[str, Any]] = []
    for node in graph.nodes:
        part, held = _layer(node.body) if isinstance(node.body, Layer) else _call(node)
        tensors |= {f"{node.name}/{name}": tensor for name, tensor in held.items()}
        nodes.append(part | {"name": node.name, "inputs": list(node.inputs), "tensors": list(held)})
    document = {
        "kind": KIND,
        "version": VERSION,
        "inputs": list(graph.inputs),
        "nodes": nodes,
        "output": graph.output,
        "report": report.model_dump(mode="json", exclude_defaults=True),
    }
    check_dense_forms(  # what load would refuse is not written
        (body.shape[0] * body.shape[1], body.stored.values.size)
        for _, body in graph.layers()
        for name in {choice.layout for choice in body.choices} - {body.stored.layout}
        if not layout(name).explicit
    )
    with on_cpu():
        check_shapes(graph, report.inputs)
    storage.write(path, tensors, document, room(document))


def _layer(body: Layer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A linear layer's part of the document, and its tensors."""
    form = body.stored
    part: dict[str, Any] = {
        "op": "linear",
        "shape": list(form.shape),
        "layout": form.layout,
        "parameters": form.parameters,
        "activation": body.activation,
        "slope": body.slope,
        "values": narrow_name(form),
        "run": [{"layout": choice.layout, "engine": choice.engine} for choice in body.choices],
    }
    if body.flat:
        part["flat"] = True
    held = {"values": form.values, **form.index, "scale": form.scale, "bias": body.bias}
    return part, {name: tensor_of(array) for name, array in held.items() if array is not None}


def _call(node: Node) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Any other node's part of the document, and its tensors."""
    if not isinstance(node.body, Call):
        what = node.body.what if isinstance(node.body, Opaque) else "an unfinished layer"
        raise FormatError(
            "save",
            expected=f"a network of the operators linear, {', '.join(sorted(operators))}",
            got=f"{what} at {node.name!r}",
            hint="replace it in the model, or save the parts before and behind it",
        )
    return {"op": node.body.op, "settings": node.body.settings.model_dump(mode="json")}, node.body.tensors


def read(path: str | Path) -> tuple[Graph, Plan]:
    """Read a frozen network; everything in the file is checked before anything runs, and none of it is code.

    Args:
        path: str or Path.

    Returns:
        (Graph, Plan).

    Raises:
        FormatError: damaged, hostile, of an unknown version, or with an unknown operator. FileNotFoundError.

    Cost: O(file) time and memory.
    """
    tensors, raw = storage.read(path, KIND, (VERSION,))
    name = Path(path).name
    try:
        with on_cpu():
            return _checked(parse(Document, raw, f"load {name}"), tensors)
    except (FormatError, KernelUnavailable, MemoryShortage):
        raise
    except GossamerError as error:  # a part that refused what the file says
        hint = "the file is damaged"
        raise FormatError(f"load {name}", expected=error.expected, got=error.got, hint=hint) from error


def _checked(document: Document, tensors: dict[str, Tensor]) -> tuple[Graph, Plan]:
    """The network of a document, every part of it checked before it takes memory."""
    check_graph(document)
    check_report(document)
    _all_named(document, tensors)
    check_dense_forms(
        (part.shape[0] * part.shape[1], tensors[f"{part.name}/values"].numel())
        for part in document.nodes
        if isinstance(part, LinearPart) and "values" in part.tensors
        for run in {run.layout for run in part.run} - {part.layout}
        if run in layouts and not layout(run).explicit
    )
    nodes = tuple(
        Node(part.name, tuple(part.inputs), _body(part, _own(part, tensors))) for part in document.nodes
    )
    graph = Graph(tuple(document.inputs), nodes, document.output)
    check_shapes(graph, document.report.inputs)
    return graph, document.report


def _all_named(document: Document, tensors: dict[str, Tensor]) -> None:
    """Every tensor of the file belongs to a node, and every one that is named is there."""
    named = [f"{part.name}/{name}" for part in document.nodes for name in part.tensors]
    if len(set(named)) != len(named) or set(named) != set(tensors):
        differ = sorted(set(named) ^ set(tensors))[:3] or "a tensor named twice"
        raise FormatError(
            "load", expected="exactly the tensors that the graph names", got=f"a mismatch in {differ}"
        )


def _own(part: LinearPart | CallPart, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[f"{part.name}/{name}"] for name in part.tensors}


def _body(part: LinearPart | CallPart, tensors: dict[str, Tensor]) -> Call | Layer:
    """A node, checked in full."""
    if isinstance(part, LinearPart):
        return _packed(part, tensors)
    if part.op not in operators:
        raise FormatError(
            "load", expected=f"an operator among linear, {', '.join(sorted(operators))}", got=repr(part.op)
        )
    entry = operators[part.op]
    if len(part.inputs) != entry.arity:
        raise FormatError(f"load {part.name}", expected=f"{entry.arity} inputs", got=str(len(part.inputs)))
    settings = parse(entry.settings, part.settings, f"load {part.name}")
    entry.check(settings, tensors)
    return Call(part.op, settings, tensors)


def _packed(part: LinearPart, tensors: dict[str, Tensor]) -> Layer:
    """A linear layer with every form that it runs in, made from the stored one."""
    if unknown := {part.layout, *(run.layout for run in part.run)} - set(layouts):
        raise FormatError(
            f"load {part.name}",
            expected=f"layouts among {', '.join(layouts)}",
            got=", ".join(sorted(unknown)),
        )
    arrays = {name: array_of(tensor) for name, tensor in tensors.items()}
    bias, values, scale = (arrays.pop(name, None) for name in ("bias", "values", "scale"))
    kind = layout(part.layout)
    if values is None or set(part.parameters) != set(kind.parameters):
        raise FormatError(
            f"load {part.name}", expected=f"values and parameters {kind.parameters}", got=f"{part.parameters}"
        )
    parameters = {name: part.parameters[name] for name in kind.parameters}
    reads = None if part.values is None else "float32"
    stored = Encoded(part.layout, part.shape, parameters, values, arrays, scale, reads)
    connections = check_layer(part, stored, bias)
    forms: dict[str, Encoded] = {}
    for run in part.run:
        if run.layout not in forms:
            forms[run.layout] = (
                stored if run.layout == part.layout else _encoded(part, run.layout, connections)
            )
    choices = tuple(Choice(run.layout, run.engine) for run in part.run)
    return Layer(part.shape, bias, part.activation, stored, forms, choices, part.slope, part.flat)


def _encoded(part: LinearPart, name: str, connections: Connections) -> Encoded:
    """Another form of the stored connections."""
    fits = layout(name).fit(connections)
    if isinstance(fits, str):
        raise FormatError(f"load {part.name}", expected=f"a layer that {name} can hold", got=fits)
    return layout(name).encode(connections, fits)
