"""The nodes of an ONNX file as nodes of our graph, where we have all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from gossamer.errors import FormatError, GossamerError
from gossamer.importing.network import Builder, Network, Port, checked
from gossamer.importing.onnx.file import File, Operation
from gossamer.layouts.arrays import Array, aligned
from gossamer.layouts.connections import Connections
from gossamer.layouts.geometry import Geometry
from gossamer.network.graph import Linear
from gossamer.network.shapes import Value, follow


class NotOurs(Exception):
    """A node that we have no operator for; the message says which."""


@dataclass
class Building:
    """A file on its way to a graph.

    Args:
        file: File.
        builder: Builder.
        names: value -> name of the node that computes it.
        readers: value -> how many nodes read it, outputs included.
    """

    file: File
    builder: Builder
    names: dict[str, str]
    readers: Counter[str] = field(default_factory=Counter)

    def name(self, value: str) -> str:
        """The node that computes a value; raises NotOurs."""
        if value not in self.names:
            raise NotOurs(f"{value!r}, which is not computed before it is read")
        return self.names[value]

    def constant(self, operation: Operation, at: int) -> Array | None:
        """A known input, None where it is left out; raises NotOurs for one that is computed."""
        if at >= len(operation.reads) or not operation.reads[at]:
            return None
        if (found := self.file.constants.get(operation.reads[at])) is None:
            raise NotOurs(f"{operation.op} with a computed {operation.reads[at]!r}")
        return found

    def call(self, operation: Operation, op: str, **settings: Any) -> None:
        """One operator of ours for a node with one input."""
        self.names[operation.makes[0]] = self.builder.call(op, self.name(operation.reads[0]), **settings)


Node = Callable[[Building, Operation], None]
nodes: dict[str, Node] = {}


def node(*ops: str) -> Callable[[Node], Node]:
    """Say which operators of ONNX a function builds."""

    def add(function: Node) -> Node:
        nodes.update(dict.fromkeys(ops, function))
        return function

    return add


def build(file: File) -> Network:
    """The graph of a file.

    Raises:
        NotOurs: a part that we have no operator for. FormatError: parts that do not fit each other.
    """
    open_sizes = [
        name for name, sizes in file.inputs.items() if any(not isinstance(s, int) for s in sizes[1:])
    ]
    if len(file.outputs) != 1 or open_sizes or not all(file.inputs.values()) or not file.inputs:
        raise NotOurs(f"inputs of open sizes {open_sizes}" if open_sizes else f"{len(file.outputs)} outputs")
    inputs = tuple(
        Port(name, (sizes[0] if isinstance(sizes[0], int) and sizes[0] > 0 else 1, *sizes[1:]))
        for name, sizes in file.inputs.items()
    )
    readers = Counter([*file.outputs, *(name for each in file.operations for name in each.reads)])
    building = Building(file, Builder(tuple(file.inputs)), {name: name for name in file.inputs}, readers)
    for operation in file.operations:
        _node(building, operation)
    graph = building.builder.graph(building.name(file.outputs[0]))
    given = {port.name: Value("float32", port.shape) for port in inputs}
    shape = follow(graph, given, f"convert {file.name}", FormatError)[graph.output].shape
    return checked(Network(graph, inputs, (Port(file.outputs[0], shape),)), f"convert {file.name}")


def _node(building: Building, operation: Operation) -> None:
    if operation.makes and operation.makes[0] in building.file.constants:
        return
    if operation.op not in nodes or not operation.makes or not operation.reads:
        raise NotOurs(f"operator {operation.op}")
    try:
        nodes[operation.op](building, operation)
    except GossamerError as error:
        raise NotOurs(f"{operation.op}: {error}") from None
    except (ValidationError, ValueError, IndexError, OverflowError, TypeError) as error:
        raise NotOurs(f"{operation.op}: {str(error).splitlines()[0]}") from None


def connections(matrix: Array, bias: Array | None) -> Connections:
    """A weight [out, in]: zeros are no connections."""
    flat = np.ascontiguousarray(matrix, np.float32).reshape(-1)
    at = np.flatnonzero(flat)
    held = None if bias is None else aligned(np.ascontiguousarray(bias, np.float32).reshape(-1))
    if held is not None and held.shape != (matrix.shape[0],):
        raise ValueError(f"a bias of {held.size} for {matrix.shape[0]}")
    return Connections((matrix.shape[0], matrix.shape[1]), at, aligned(flat[at]), held)


def layer(building: Building, operation: Operation, body: Linear) -> None:
    """A linear layer or a convolution."""
    reads = building.name(operation.reads[0])
    building.names[operation.makes[0]] = building.builder.linear(
        operation.name or operation.makes[0], reads, body
    )


@node("Conv")
def conv(building: Building, operation: Operation) -> None:
    """Conv over images."""
    weight, bias, given = building.constant(operation, 1), building.constant(operation, 2), operation.settings
    if weight is None or weight.ndim != 4 or given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotOurs("Conv over other than images, or padded by itself")
    n_out, inner, *kernel = weight.shape
    groups = given.get("group", 1)
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    geometry = Geometry(
        inner * groups,
        (kernel[0], kernel[1]),
        tuple(given.get("strides", (1, 1))),
        (left, right, top, bottom),
        tuple(given.get("dilations", (1, 1))),
        groups,
    )
    matrix = weight.transpose(0, 2, 3, 1).reshape(n_out, -1)
    layer(building, operation, Linear(connections(matrix, bias), geometry=geometry))


@node("Gemm", "MatMul")
def product(building: Building, operation: Operation) -> None:
    """Gemm and MatMul by a known weight, which is [in, out] unless it says otherwise."""
    weight, given = building.constant(operation, 1), operation.settings
    if (
        weight is None
        or weight.ndim != 2
        or given.get("transA")
        or {given.get(n, 1.0) for n in ("alpha", "beta")} != {1.0}
    ):
        raise NotOurs(f"{operation.op} with scales, or other than a matrix")
    matrix = weight if given.get("transB") else weight.T
    bias = building.constant(operation, 2)
    layer(building, operation, Linear(connections(matrix, bias)))


@node("Add", "Mul", "Sub", "Div")
def both(building: Building, operation: Operation) -> None:
    """Of two values; of one and a known number, or a number for each channel."""
    op, (first, second) = operation.op.lower(), operation.reads
    if first in building.file.constants and op in ("add", "mul"):
        first, second = second, first
    if second not in building.file.constants:
        if op not in ("add", "mul"):
            raise NotOurs(f"{operation.op} of two values")
        made = building.builder.call(op, building.name(first), building.name(second))
    elif (number := building.file.constants[second]).size == 1:
        made = building.builder.call(
            "scalar", building.name(first), function=op, number=float(number.reshape(-1)[0])
        )
    else:
        made = _by_channel(building, first, op, number.astype(np.float32))
    building.names[operation.makes[0]] = made


def _by_channel(building: Building, value: str, op: str, number: Array) -> str:
    """The bias of the product in front, or a normalisation that scales and shifts."""
    name = building.name(value)
    at = next((n for n, each in enumerate(building.builder.nodes) if each.name == name), None)
    found = None if at is None else building.builder.nodes[at]
    if (
        found is not None
        and at is not None
        and op == "add"
        and isinstance(found.body, Linear)
        and building.readers[value] == 1
    ):
        held = found.body.connections
        per_row = number.ndim == 1 if found.body.geometry is None else number.shape[-2:] == (1, 1)
        if held.bias is None and per_row and number.size == held.shape[0]:
            with_bias = replace(held, bias=aligned(number.reshape(-1)))
            building.builder.nodes[at] = replace(found, body=replace(found.body, connections=with_bias))
            return name
    if number.ndim not in (3, 4) or number.shape[-2:] != (1, 1) or op in ("sub", "div"):
        raise NotOurs(f"{op} of numbers {number.shape}")
    flat = number.reshape(-1)
    zeros, ones = np.zeros(flat.size, np.float32), np.ones(flat.size, np.float32)
    scale, shift = (ones, flat) if op == "add" else (flat, zeros)
    tensors = {"mean": zeros, "variance": ones, "weight": scale, "bias": shift}
    return building.builder.call(
        "batch_norm", name, tensors=tensors, features=flat.size, eps=0.0, affine=True
    )
