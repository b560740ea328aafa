"""A network in the words of ONNX, as its operators say them one after the other; the package onnx is not needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gossamer.layouts.arrays import Array, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT = "float32"  # what narrower numbers become: few engines compute with them
WIDENED = ("bfloat16", "float16")


class NotSpelled(Exception):
    """Shapes or settings that ONNX has no words for; the message says which."""


class Spelled(NamedTuple):
    """One node of ONNX, with one output."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


class Few(NamedTuple):
    """A tensor that is stored by its numbers and where they stand: positions int64 [n], ascending, in C order."""

    shape: tuple[int, ...]
    positions: Array
    values: Array


def type_of(dtype: str) -> str:
    """The name of the type that a value has in ONNX.

    Example:
        >>> type_of("bfloat16"), type_of("float64")
        ('float32', 'float64')
    """
    return FLOAT if dtype in WIDENED else dtype


@dataclass
class Spelling:
    """The nodes and constants so far, and what is known of the node whose turn it is.

    Args:
        taken: names that values of the network have.

    Shapes have the batch as a size of its own; ``free`` says which sizes of the result depend on it.

    Example:
        >>> words = Spelling({"x"})
        >>> words.turn("clip", [(1, 3)], ["float32"], (1, 3), "float32", (True, False))
        >>> words.emit("Max", "x", words.number(0.5))
        'clip'
        >>> words.constants["clip.0"], words.nodes[0].inputs
        (array(0.5, dtype=float32), ('x', 'clip.0'))
    """

    taken: set[str]
    nodes: list[Spelled] = field(default_factory=list)
    constants: dict[str, Array | Few] = field(default_factory=dict)
    node: str = ""
    shapes: Sequence[tuple[int, ...]] = ()
    types: Sequence[str] = ()
    shape: tuple[int, ...] = ()
    type: str = FLOAT
    free: tuple[bool, ...] = ()

    def turn(
        self,
        node: str,
        shapes: Sequence[tuple[int, ...]],
        types: Sequence[str],
        shape: tuple[int, ...],
        type: str,  # noqa: A002 (as ONNX has it)
        free: tuple[bool, ...],
    ) -> None:
        """Begin a node: shapes and types of its inputs and of its result."""
        self.node, self.shapes, self.types = node, shapes, types
        self.shape, self.type, self.free = shape, type, free

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its output. An input "" is left out."""
        output = self._named(self.node)
        self.nodes.append(Spelled(op, inputs, output, attributes))
        return output

    def constant(self, held: Any) -> str:
        """The name of an array, a list of integers or a tensor by its numbers."""
        name = self._named(f"{self.node}.0")
        self.constants[name] = held if isinstance(held, Few) else np.asarray(held)
        return name

    def number(self, value: float) -> str:
        """The name of one number of the result's type."""
        return self.constant(np.array(value, self.type))

    def tensor(self, held: Any) -> Array:
        """An operator's tensor or array as an array of the result's type."""
        array = (
            np.asarray(held.double()) if hasattr(held, "double") else held
        )  # a tensor: NumPy has no bfloat16
        return cast(array, self.type)

    def alike(self, xs: Sequence[str]) -> list[str]:
        """Inputs of the result's type, those of others cast to it."""
        to = np.dtype(self.type)
        pairs = zip(xs, self.types, strict=True)
        return [x if dtype == self.type else self.emit("Cast", x, to=to) for x, dtype in pairs]

    def reshaped(self, x: str) -> str:
        """The numbers of the node's input in the shape of its result, for any batch."""
        copied = self.shapes[0][:1] == self.shape[:1]  # the batch itself, and not a multiple of it
        places = enumerate(zip(self.shape, self.free, strict=True))
        sizes = [(0 if at == 0 and copied else -1) if free else size for at, (size, free) in places]
        return self.emit("Reshape", x, self.constant(sizes))

    def part(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """A slice along one dimension."""
        bounds = ([number] for number in (start, stop, axis, step))
        return self.emit("Slice", x, *map(self.constant, bounds))

    @property
    def wide(self) -> bool:
        """Whether numbers are float64: attributes of ONNX are float32, and would round its settings."""
        return self.type == "float64"

    def _named(self, wanted: str) -> str:
        """A name that is not taken, and is now."""
        stem, _, number = wanted.rpartition(".")
        count = int(number) if stem and number.isdigit() else 0
        stem = stem if stem and number.isdigit() else wanted
        name = wanted
        while name in self.taken:
            count += 1
            name = f"{stem}.{count}"
        self.taken.add(name)
        return name
