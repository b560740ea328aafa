"""The checks of an artifact that go beyond types: graph, report, layers, and shapes from input to output."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import FormatError, GossamerError
from gossamer.layouts import Encoded, layout
from gossamer.layouts.arrays import name_of
from gossamer.layouts.geometry import Geometry
from gossamer.network.operators.base import FLOATS, LARGEST_SIZE
from gossamer.network.schema import Document, LinearPart
from gossamer.network.shapes import Value, follow
from gossamer.network.store import LARGEST_BLOWUP, SMALL_MATRIX, in_proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections
    from gossamer.network.graph import Graph
    from gossamer.network.plan import InputPlan, Plan

DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
BATCHES = (0, 1, 2, 1 + LARGEST_SIZE)  # the last one is more than a slice of the batch can let pass
LARGEST_SAMPLE = 1 << 31  # numbers of one value: borders and upsampling must not ask for unbounded memory


LARGEST_SIDES = 1 << 25  # pixels, of all images together: plans list the rows and columns of each


def check_graph(document: Document) -> None:
    """Names are unique, nodes read what stands before them (so there is no cycle), every value is read."""
    known = set(document.inputs)
    if len(known) != len(document.inputs):
        raise FormatError("load", expected="inputs with names of their own", got=str(document.inputs))
    read = {document.output}
    for part in document.nodes:
        if part.name in known:
            raise FormatError("load", expected="nodes with names of their own", got=f"{part.name!r} twice")
        if missing := [name for name in part.inputs if name not in known]:
            raise FormatError(
                f"load {part.name}", expected="inputs that are computed before it", got=repr(missing[0])
            )
        known.add(part.name)
        read.update(part.inputs)
    if unread := known - read - set(document.inputs):
        differ = min(unread)
        raise FormatError(
            "load", expected="a graph whose values are all read and all there", got=f"{differ!r} dangling"
        )


def check_report(document: Document) -> None:
    """As many inputs as the graph has; batch classes ascend, the last is open; layers run in each."""
    report = document.report
    check_batches(report)
    limits = report.batches
    if len(report.inputs) != len(document.inputs):
        raise FormatError(
            "load", expected=f"{len(document.inputs)} described inputs", got=str(len(report.inputs))
        )
    for part in document.nodes:
        if isinstance(part, LinearPart) and len(part.run) != len(limits):
            raise FormatError(f"load {part.name}", expected=f"{len(limits)} runs", got=str(len(part.run)))


def check_batches(report: Plan) -> None:
    """Batch classes ascend, and the last is open."""
    limits = [row.up_to for row in report.batches]
    closed = [limit for limit in limits[:-1] if limit is not None]
    if limits[-1] is not None or len(closed) != len(limits) - 1 or sorted(set(closed)) != closed:
        raise FormatError("plan", expected="ascending batch limits, the last one open", got=str(limits))


def check_layer(part: LinearPart, stored: Encoded, bias: Array | None) -> Connections:
    """Values, bias and index of a layer, and whether its runs can be had without exhausting memory."""
    values = name_of(stored.values)
    expected = FLOATS if part.values is None else (part.values,)
    if values not in expected:
        raise FormatError(f"load {part.name}", expected=f"values of {' or '.join(expected)}", got=values)
    _check_vector(part, "bias", bias, stored.dtype)
    _check_vector(part, "scale", stored.scale, "float32")
    if (stored.scale is not None) != (values == "int8"):
        got = "none" if stored.scale is None else f"one with {values}"
        raise FormatError(f"load {part.name}", expected="a scale with int8 values, and only there", got=got)
    if stored.scale is not None and not bool(np.isfinite(stored.scale).all()):
        raise FormatError(f"load {part.name}", expected="finite scales", got="an infinity or NaN")
    try:
        connections = layout(stored.layout).check(stored)
    except FormatError:
        raise
    except GossamerError as error:
        raise FormatError(
            f"load {part.name}", expected=error.expected, got=error.got, hint="the file is damaged"
        ) from None
    for run in part.run:
        _check_run(part, run.layout, run.engine, connections)
    return connections


def check_geometry(part: LinearPart) -> Geometry | None:
    """How a convolution moves, once channels, groups and columns are known to go together."""
    if part.geometry is None:
        return None
    geometry = Geometry(**part.geometry.model_dump())
    n_out, groups = part.shape[0], geometry.groups
    if geometry.channels % groups or n_out % groups or geometry.columns != part.shape[1] or part.flat:
        raise FormatError(
            f"load {part.name}",
            expected="groups that divide the channels, and a column for each tap and channel of a group",
            got=f"{geometry.channels} -> {n_out} channels in {groups} groups, {part.shape[1]} columns",
        )
    return geometry


def _check_vector(part: LinearPart, name: str, vector: Array | None, dtype: str) -> None:
    """One number for each neuron, where there are any."""
    if vector is not None and (name_of(vector) != dtype or vector.shape != (part.shape[0],)):
        raise FormatError(
            f"load {part.name}",
            expected=f"{name} [{part.shape[0]}] of {dtype}",
            got=f"{list(vector.shape)} of {name_of(vector)}",
        )


def _check_run(part: LinearPart, name: str, engine: str, connections: Connections) -> None:
    """An engine that runs the layout, from a form that knows its connections, of a size in proportion."""
    if engine == "torch" and name not in ("dense", "slice"):
        raise FormatError(
            f"load {part.name}",
            expected="dense or slice by torch, any by the core",
            got=f"{name} by {engine}",
        )
    if name == part.layout:
        return
    if not layout(part.layout).explicit:
        raise FormatError(f"load {part.name}", expected=f"runs of the stored layout {part.layout}", got=name)
    if not (layout(name).explicit or in_proportion(connections)):
        raise FormatError(
            f"load {part.name}",
            expected="a dense weight of a size that suits its connections",
            got=f"{part.shape[0] * part.shape[1]} numbers",
        )


def check_dense_forms(layers: Iterable[tuple[int, int]]) -> None:
    """Refuse dense forms that together are out of proportion to what is stored, before any of them is made.

    Args:
        layers: numbers of the dense form and stored values, of each layer that runs dense from another form.
    """
    numbers, stored = (sum(each) for each in zip((0, 0), *layers, strict=True))
    if numbers > max(SMALL_MATRIX, LARGEST_BLOWUP * stored):
        raise FormatError(
            "artifact",
            expected="dense weights of a size that suits their connections",
            got=f"{numbers:,} numbers",
        )


def check_shapes(graph: Graph, inputs: list[InputPlan]) -> None:
    """Follow shapes and types through the graph for several batch sizes, which no other dimension may depend on.

    An input of one dimension has no batch that could be empty.

    Args:
        graph: Graph - of calls and layers.
        inputs: what the example was; its first dimension is the batch, where an input has more than one.

    Raises:
        FormatError: two nodes that do not fit each other, or a value that is too large.

    Cost: O(nodes); nothing is computed.
    """
    for described in inputs:
        if described.dtype not in DTYPES:
            raise FormatError("load", expected=f"inputs of {', '.join(DTYPES)}", got=repr(described.dtype))
    for batch in BATCHES:
        given = {
            name: Value(row.dtype, (*([batch] if len(row.shape) > 1 else row.shape[:1]), *row.shape[1:]))
            for name, row in zip(graph.inputs, inputs, strict=True)
        }
        values = follow(graph, given, "load", FormatError)
        for name, value in values.items():
            if batch == 0 and prod(size or 1 for size in value.shape) > LARGEST_SAMPLE:
                got = str(list(value.shape))
                raise FormatError(f"load {name}", expected="values that memory can hold", got=got)
        sides = sum(sum(value.shape[2:]) for value in values.values() if len(value.shape) == 4)
        if sides > LARGEST_SIDES:
            expected, got = f"images whose sides are at most {LARGEST_SIDES:,} pixels together", f"{sides:,}"
            raise FormatError("load", expected=expected, got=got)
