"""The operators of a TFLite file as nodes of our graph. Images are planes: [batch, channels, height, width]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from gossamer.errors import GossamerError
from gossamer.importing.network import Builder, Network, Port, checked
from gossamer.importing.tflite.file import Constant, File, Operation

if TYPE_CHECKING:
    from gossamer.importing.tflite.flat import Record

PLANES, BACK = (0, 3, 1, 2), (0, 2, 3, 1)  # from channels last, and to them
ACTIVATIONS = {0: "", 1: "relu", 3: "relu6", 4: "tanh"}


@dataclass
class Building:
    """A file on its way to a graph.

    Args:
        file: File.
        builder: Builder.
        names: number of a value that is computed -> name of the node that computes it.
        constants: number of a value that is known -> its numbers.
    """

    file: File
    builder: Builder
    names: dict[int, str]
    constants: dict[int, Constant] = field(default_factory=dict)

    def shape(self, number: int) -> tuple[int, ...]:
        """As the file has it: channels last."""
        return self.file.values[number].shape

    def constant(self, number: int) -> Constant:
        """Numbers that the operator needs to be in the file; raises FormatError."""
        if (found := self.known(number)) is None:
            raise self.file.wrong("weights that are in the file", "computed ones", "")
        return found

    def known(self, number: int) -> Constant | None:
        """The numbers of a value, None where it is computed."""
        if number in self.names:
            return None
        if number not in self.constants and (found := self.file.constant(number)) is not None:
            self.constants[number] = found
        return self.constants.get(number)

    def name(self, number: int) -> str:
        """The node that computes a value; raises FormatError."""
        if number not in self.names:
            raise self.file.wrong("values that are computed before they are read", f"value {number}")
        return self.names[number]

    def plain(self, number: int) -> str:
        """A value with its dimensions in the order of the file."""
        name = self.name(number)
        return self.builder.call("permute", name, dims=BACK) if len(self.shape(number)) == 4 else name

    def made(self, operation: Operation, name: str, activation: int = 0) -> None:
        """Note what computes the result of an operator, with the activation that is part of it."""
        if activation not in ACTIVATIONS:
            raise self.file.wrong("no activation, relu, relu6 or tanh", f"number {activation}", "")
        if ACTIVATIONS[activation]:
            name = self.builder.call(ACTIVATIONS[activation], name)
        self.names[operation.makes[0]] = name


Node = Callable[[Building, Operation, "Record"], None]
nodes: dict[int, Node] = {}


def node(*codes: int) -> Callable[[Node], Node]:
    """Say which operators of TFLite a function builds."""

    def add(function: Node) -> Node:
        nodes.update(dict.fromkeys(codes, function))
        return function

    return add


def planes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as our network has it."""
    return tuple(shape[dim] for dim in PLANES) if len(shape) == 4 else shape


def build(file: File) -> Network:
    """The graph of a file.

    Args:
        file: File.

    Returns:
        Network.

    Raises:
        FormatError: an operator that we do not have, by its number, or one that does not fit.

    Cost: O(operators and constants).
    """
    inputs = tuple(_port(file, number, f"input_{at}") for at, number in enumerate(file.inputs))
    builder = Builder(tuple(port.name for port in inputs))
    building = Building(file, builder, dict(zip(file.inputs, builder.inputs, strict=True)))
    for at, operation in enumerate(file.operations):
        _node(building, operation, at)
    outputs = [number for number in file.outputs if number >= 0]
    if not outputs or not inputs:
        raise file.wrong("a network with an input and an output", f"{len(inputs)} and {len(outputs)}")
    output, ports = _joined(building, outputs)
    return checked(Network(builder.graph(output), inputs, ports), f"convert {file.name}")


def _port(file: File, number: int, name: str, first: int = 0) -> Port:
    if number < 0 or file.values[number].dtype != "float32" or not file.values[number].shape:
        got = file.values[number].dtype if number >= 0 else "none"
        raise file.wrong("inputs of float32 with a batch", got, "integer networks are not executed here")
    return Port(file.values[number].name or name, planes(file.values[number].shape), first)


def _node(building: Building, operation: Operation, at: int) -> None:
    """Build one operator; whatever does not fit is refused with its place."""
    file, wanted = building.file, nodes.get(operation.code)
    if wanted is None or not operation.makes or min((*operation.makes, *operation.reads[:1])) < 0:
        what = f"operator {operation.custom or operation.code} at {at}"
        hint = f"operators of TFLite that are read: {', '.join(map(str, sorted(nodes)))}"
        raise file.wrong("operators that the runtime has", what, hint)
    try:
        wanted(building, operation, operation.options)
    except GossamerError as error:
        raise error.within(f"operator {operation.code} at {at}") from None
    except (ValidationError, IndexError, ValueError, OverflowError) as error:
        said = str(error).splitlines()[0]
        raise file.wrong(f"settings that operator {operation.code} at {at} can have", said, "") from None


def _joined(building: Building, outputs: list[int]) -> tuple[str, tuple[Port, ...]]:
    """One value of all outputs: side by side along the last dimension where the others agree."""
    if len(outputs) == 1:
        return building.name(outputs[0]), (_port(building.file, outputs[0], "output"),)
    shapes = [building.shape(number) for number in outputs]
    if len({shape[:-1] for shape in shapes}) > 1 or any(len(shape) < 2 for shape in shapes):
        raise building.file.wrong("outputs that differ in their last size alone", f"{shapes}", "")
    firsts = np.cumsum([0, *(shape[-1] for shape in shapes)]).tolist()
    axis = 1 if len(shapes[0]) == 4 else len(shapes[0]) - 1
    name = building.builder.call("concatenate", *(building.name(number) for number in outputs), dim=axis)
    places = zip(outputs, firsts, strict=False)
    return name, tuple(_port(building.file, number, "output", first) for number, first in places)
