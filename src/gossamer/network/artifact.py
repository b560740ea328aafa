"""A frozen network in one file, hostile until checked. See docs/artifact-format.md."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gossamer.errors import FormatError, GossamerError, KernelUnavailable, MemoryShortage
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.bits import packed, unpacked
from gossamer.layouts.values import PACKED, narrow_name
from gossamer.network.conv_step import unfit
from gossamer.network.graph import Call, Choice, Graph, Layer, Linear, Node, Opaque, frozen
from gossamer.network.operators import operators
from gossamer.network.retired import RETIRED
from gossamer.network.room import room
from gossamer.network.schema import KIND, VERSION, VERSIONS, CallPart, Document, LinearPart, parse
from gossamer.network.stored import read_arrays
from gossamer.network.verify import (
    check_dense_forms,
    check_geometry,
    check_graph,
    check_layer,
    check_report,
    check_shapes,
)

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections
    from gossamer.network.plan import Plan


class Content(NamedTuple):
    """What a file holds: numbers by name, torch's or NumPy's; a JSON-ready document; and its room in characters."""

    numbers: dict[str, Any]
    document: dict[str, Any]
    room: int


def content(graph: Graph, report: Plan) -> Content:
    """A frozen network as it goes into a file.

    Args:
        graph: Graph - of calls and layers.
        report: Plan - how it was frozen.

    Returns:
        Content.

    Raises:
        FormatError: a node that only torch knows, which the message names, or a network that mixes its batch
            with other dimensions.

    Cost: O(nodes); numbers are not copied.
    """
    numbers: dict[str, Any] = {}
    nodes: list[dict[str, Any]] = []
    for node in graph.nodes:
        part, held = _layer(node.body) if isinstance(node.body, Layer) else _call(node)
        numbers |= {f"{node.name}/{name}": array for name, array in held.items()}
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
    check_shapes(graph, report.inputs)
    return Content(numbers, document, room(document))


def _layer(body: Layer) -> tuple[dict[str, Any], dict[str, Array]]:
    """A layer's part of the document, and its arrays."""
    form, narrow = body.stored, narrow_name(body.stored)
    values = packed(form.values, PACKED[narrow]) if narrow in PACKED else form.values
    part: dict[str, Any] = {
        "op": "linear",
        "shape": list(form.shape),
        "layout": form.layout,
        "parameters": form.parameters,
        "activation": body.activation,
        "slope": body.slope,
        "values": narrow,
        "run": [{"layout": choice.layout, "engine": choice.engine} for choice in body.choices],
    }
    if body.flat:
        part["flat"] = True
    if body.geometry is not None:
        part["geometry"] = asdict(body.geometry)
    held = {"values": values, **form.index, "scale": form.scale, "bias": body.bias}
    return part, {name: array for name, array in held.items() if array is not None}


def _call(node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """Any other node's part of the document, and its tensors or arrays."""
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
        (Graph, Plan) - everything in arrays.

    Raises:
        FormatError: damaged, hostile, of an unknown version, or with an unknown operator. FileNotFoundError.

    Cost: O(file) time and memory.
    """
    arrays, raw = read_arrays(path, KIND, VERSIONS)
    name = Path(path).name
    try:
        return _checked(parse(Document, raw, f"load {name}"), arrays)
    except (FormatError, KernelUnavailable, MemoryShortage):
        raise
    except GossamerError as error:  # a part that refused what the file says
        hint = "the file is damaged"
        raise FormatError(f"load {name}", expected=error.expected, got=error.got, hint=hint) from error


def _checked(document: Document, arrays: dict[str, Array]) -> tuple[Graph, Plan]:
    """The network of a document, every part of it checked before it takes memory."""
    check_graph(document)
    check_report(document)
    _all_named(document, arrays)
    document = _unpacked(document, arrays)
    check_dense_forms(
        (part.shape[0] * part.shape[1], arrays[f"{part.name}/values"].size)
        for part in document.nodes
        if isinstance(part, LinearPart) and "values" in part.tensors
        for run in {run.layout for run in part.run} - {part.layout}
        if run in layouts and not layout(run).explicit
    )
    classes = len(document.report.batches)
    nodes = tuple(
        Node(part.name, tuple(part.inputs), _body(part, _own(part, arrays), classes))
        for part in document.nodes
    )
    graph = Graph(tuple(document.inputs), nodes, document.output)
    check_shapes(graph, document.report.inputs)
    return graph, document.report


def _all_named(document: Document, arrays: dict[str, Array]) -> None:
    """Every tensor of the file belongs to a node, and every one that is named is there."""
    named = [f"{part.name}/{name}" for part in document.nodes for name in part.tensors]
    if len(set(named)) != len(named) or set(named) != set(arrays):
        differ = sorted(set(named) ^ set(arrays))[:3] or "a tensor named twice"
        raise FormatError(
            "load", expected="exactly the tensors that the graph names", got=f"a mismatch in {differ}"
        )


def _unpacked(document: Document, arrays: dict[str, Array]) -> Document:
    """The document and its arrays with values of less than a byte as kernels read them, int8."""
    nodes: list[LinearPart | CallPart] = []
    for part in document.nodes:
        if isinstance(part, LinearPart) and part.values in PACKED and "values" in part.tensors:
            name = f"{part.name}/values"
            arrays[name] = unpacked(arrays[name], PACKED[part.values])
            nodes.append(part.model_copy(update={"values": "int8"}))
        else:
            nodes.append(part)
    return document.model_copy(update={"nodes": nodes})


def _own(part: LinearPart | CallPart, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: arrays[f"{part.name}/{name}"] for name in part.tensors}


def _body(part: LinearPart | CallPart, arrays: dict[str, Array], classes: int) -> Call | Layer:
    """A node, checked in full."""
    if isinstance(part, LinearPart):
        return _packed(part, arrays)
    if part.op in RETIRED:
        return RETIRED[part.op](part, arrays, classes)
    if part.op not in operators:
        raise FormatError(
            "load", expected=f"an operator among linear, {', '.join(sorted(operators))}", got=repr(part.op)
        )
    entry = operators[part.op]
    if entry.arity is not None and len(part.inputs) != entry.arity:
        raise FormatError(f"load {part.name}", expected=f"{entry.arity} inputs", got=str(len(part.inputs)))
    settings = parse(entry.settings, part.settings, f"load {part.name}")
    entry.check(settings, arrays)
    return Call(part.op, settings, arrays)


def _packed(part: LinearPart, arrays: dict[str, Array]) -> Layer:
    """A layer with every form that it runs in, made from the stored one."""
    geometry = check_geometry(part)
    if unknown := {part.layout, *(run.layout for run in part.run)} - set(layouts):
        raise FormatError(
            f"load {part.name}",
            expected=f"layouts among {', '.join(layouts)}",
            got=", ".join(sorted(unknown)),
        )
    bias, values, scale = (arrays.pop(name, None) for name in ("bias", "values", "scale"))
    kind = layout(part.layout)
    if not kind.exact:
        raise FormatError(f"load {part.name}", expected="a layout that files hold", got=part.layout)
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
    if reason := next(filter(None, (unfit(form, geometry) for form in forms.values())), ""):
        raise FormatError(f"load {part.name}", expected="layouts that run this convolution", got=reason)
    choices = tuple(Choice(run.layout, run.engine).of(geometry) for run in part.run)
    body = Linear(replace(connections, bias=bias), part.activation, part.slope, part.flat, geometry)
    return frozen(body, stored, forms, choices)


def _encoded(part: LinearPart, name: str, connections: Connections) -> Encoded:
    """Another form of the stored connections."""
    fits = layout(name).runs(connections)
    if isinstance(fits, str):
        raise FormatError(f"load {part.name}", expected=f"a layer that {name} can hold", got=fits)
    return layout(name).encode(connections, fits)
