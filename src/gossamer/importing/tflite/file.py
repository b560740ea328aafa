"""A TFLite file: its values, constants and operators, checked; constants are read when somebody asks for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gossamer.errors import FormatError
from gossamer.importing.tflite.flat import Record, nothing, root
from gossamer.importing.tflite.sparsity import positions
from gossamer.network.operators.base import LARGEST_SIZE

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array

TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 10: "float64"}
LARGEST_CONSTANTS = 64  # times the size of the file, of all constants together
MAGIC = b"TFL3"


class Constant(NamedTuple):
    """Numbers of a file: all of them, or those at some positions, in ascending order; the rest are zeros."""

    shape: tuple[int, ...]
    values: Array
    positions: Array | None = None

    def dense(self) -> Array:
        """All numbers in their shape; of a sparse one in memory of its dense size."""
        if self.positions is None:
            return self.values.reshape(self.shape)
        flat = np.zeros(prod(self.shape), self.values.dtype)
        flat[self.positions] = self.values
        return flat.reshape(self.shape)


class Value(NamedTuple):
    """What the file says of a tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    record: Record


class Operation(NamedTuple):
    """One operator: its number in TFLite's list, the values it reads (-1: none) and makes, and its settings."""

    code: int
    custom: str
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    options: Record


@dataclass
class File:
    """The one subgraph of a file.

    Args:
        name: str - of the file.
        data: bytes - all of it.
    """

    name: str
    data: bytes
    values: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    spent: int = 0

    def __post_init__(self) -> None:
        start = root(self.data)
        graphs, self.buffers = start.records(2), start.records(4)
        if len(graphs) != 1:
            raise self.wrong("one subgraph", f"{len(graphs)}")
        codes = [
            (max(each.number(0, "int8"), each.number(3, "int32")), each.text(1)) for each in start.records(1)
        ]
        self.values = [self._value(each) for each in graphs[0].records(0)]
        self.inputs, self.outputs = (self._listed(graphs[0], number) for number in (1, 2))
        for each in graphs[0].records(3):
            number = each.number(0, "uint32")
            if number >= len(codes):
                raise self.wrong(f"an operator among {len(codes)}", f"number {number}")
            reads, makes = self._listed(each, 1), self._listed(each, 2)
            self.operations.append(Operation(*codes[number], reads, makes, each.record(4) or nothing()))

    def wrong(self, expected: str, got: str, hint: str = "the file is damaged") -> FormatError:
        """An error with the name of the file."""
        return FormatError(f"convert {self.name}", expected=expected, got=got, hint=hint)

    def _listed(self, record: Record, number: int) -> tuple[int, ...]:
        """Numbers of values; -1 stands for one that is left out."""
        found = tuple(record.numbers(number, "int32").tolist())
        if any(not -1 <= each < len(self.values) for each in found):
            raise self.wrong(f"values below {len(self.values)}", f"{found[:8]}")
        return found

    def _value(self, record: Record) -> Value:
        shape = tuple(record.numbers(0, "int32").tolist())
        name, kind = record.text(3), record.number(1, "int8")
        if len(shape) > 8 or any(not 0 <= size <= LARGEST_SIZE for size in shape) or prod(shape) > 1 << 40:
            raise self.wrong(f"sizes up to {LARGEST_SIZE}", f"{shape} of {name!r}")
        return Value(name, shape, TYPES.get(kind, f"type {kind}"), record)

    def constant(self, number: int) -> Constant | None:
        """The numbers of a value that is in the file; None for one that is computed.

        Raises:
            FormatError: a size that does not match, a sparse form that does not fit, or constants that are
                out of proportion to the file.
        """
        value = self.values[number]
        at = value.record.number(2, "uint32")
        if at >= len(self.buffers):
            raise self.wrong(f"a buffer below {len(self.buffers)}", f"{at} of {value.name!r}")
        raw = self.buffers[at].numbers(0, "uint8")
        if at == 0 or not (raw.size or value.record.record(6)):
            return None
        if value.dtype not in TYPES.values():
            raise self.wrong(
                f"numbers of {', '.join(TYPES.values())}", f"{value.dtype} of {value.name!r}", ""
            )
        held, sparse = np.frombuffer(raw, np.dtype(value.dtype).newbyteorder("<")), value.record.record(6)
        self.spent += 8 * held.size
        if self.spent > LARGEST_CONSTANTS * len(self.data) + (1 << 20):
            raise self.wrong("constants in proportion to the file", f"{self.spent:,} bytes of them")
        if sparse is not None:
            return self._sparse(value, sparse, held)
        if held.size != prod(value.shape):
            raise self.wrong(f"{prod(value.shape)} numbers", f"{held.size} of {value.name!r}")
        return self._scaled(value, Constant(value.shape, held))

    def _sparse(self, value: Value, record: Record, held: Array) -> Constant:
        where = f"convert {self.name}: {value.name!r}"
        places = positions(record, value.shape, held.size, where)
        order = places.argsort(kind="stable")
        if bool((np.diff(places[order]) <= 0).any()):
            raise self.wrong("each place once", f"one twice, of {value.name!r}")
        return self._scaled(value, Constant(value.shape, held[order], places[order]))

    def _scaled(self, value: Value, found: Constant) -> Constant:
        """Quantized numbers as what they stand for: a zero point is a zero."""
        record = value.record.record(4)
        scale = np.empty(0) if record is None else record.numbers(2, "float32")
        if record is None or not scale.size or not value.dtype.startswith(("int", "uint")):
            return found
        zero, dim = record.numbers(3, "int64"), record.number(6, "int32")
        sizes = {1, value.shape[dim] if 0 <= dim < len(value.shape) else 1}
        if found.positions is not None or scale.size not in sizes or zero.size not in (0, scale.size):
            raise self.wrong(
                "a scale and a zero point, or one for each channel", f"{scale.size} and {zero.size}"
            )
        sides = [-1 if at == dim and scale.size > 1 else 1 for at in range(len(value.shape))]
        away = found.values.reshape(value.shape).astype(np.int64) - (zero.reshape(sides) if zero.size else 0)
        return Constant(value.shape, (away * scale.reshape(sides)).astype(np.float32))
