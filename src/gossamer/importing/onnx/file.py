"""An ONNX file: its nodes, and the numbers that are in it; external data are not opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gossamer.errors import FormatError, MissingPackage

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array

LARGEST_DENSE = 64  # times the size of the file, of all dense forms of sparse initializers together
EXTERNAL = 1


class Operation(NamedTuple):
    """One node."""

    op: str
    name: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    settings: dict[str, Any]


@dataclass
class File:
    """The main graph of a file.

    Args:
        name: str - of the file.
        data: bytes - all of it.
    """

    name: str
    data: bytes
    operations: list[Operation] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        graph = self._parsed().graph
        for tensor in graph.initializer:
            self.constants[tensor.name] = self._array(tensor)
        for sparse in graph.sparse_initializer:
            self.constants[sparse.values.name] = self._filled(sparse)
        for node in graph.node:
            made = Operation(
                node.op_type, node.name, tuple(node.input), tuple(node.output), self._settings(node)
            )
            if (
                node.op_type == "Constant"
                and made.makes
                and isinstance(made.settings.get("value"), np.ndarray)
            ):
                self.constants[made.makes[0]] = made.settings["value"]
            else:
                self.operations.append(made)
        for value in graph.input:
            if value.name not in self.constants:
                self.inputs[value.name] = self._sizes(value)
        self.outputs = tuple(value.name for value in graph.output)
        for operation in self.operations:
            self._dequantized(operation)

    def wrong(self, expected: str, got: str, hint: str = "") -> FormatError:
        """An error with the name of the file."""
        return FormatError(f"convert {self.name}", expected=expected, got=got, hint=hint)

    def _parsed(self) -> Any:
        try:
            import onnx
            from google.protobuf.message import DecodeError
        except ModuleNotFoundError:
            hint = "pip install 'gossamer[convert]'"
            raise MissingPackage("read ONNX", expected="the package onnx", got="none", hint=hint) from None
        try:
            return onnx.load_model_from_string(self.data)
        except (DecodeError, RecursionError, ValueError) as error:
            raise self.wrong("a whole file of ONNX", str(error)[:200], "the file is damaged") from None

    def _array(self, tensor: Any) -> Array:
        from onnx import numpy_helper

        if tensor.data_location == EXTERNAL:
            raise self.wrong(
                f"numbers of {tensor.name!r} in the file", "another file that it names", "save it in one"
            )
        try:
            found: Array = np.array(numpy_helper.to_array(tensor))  # a copy that can be written
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise self.wrong(f"numbers of {tensor.name!r}", str(error)[:200], "the file is damaged") from None
        return found

    def _filled(self, sparse: Any) -> Array:
        """Values and their places, in one number each or one for each dimension, as a dense array."""
        values, places, shape = self._array(sparse.values), self._array(sparse.indices), tuple(sparse.dims)
        name = sparse.values.name
        if min(shape, default=0) < 1 or 4 * prod(shape) > LARGEST_DENSE * len(self.data) + (1 << 20):
            raise self.wrong(f"a dense form of {name!r} in proportion to the file", f"{shape}")
        if places.ndim == 2 and places.shape == (values.size, len(shape)):
            sides = np.array([prod(shape[at + 1 :]) for at in range(len(shape))], np.int64)
            if bool(((places < 0) | (places >= np.array(shape))).any()):
                raise self.wrong(f"places inside of {shape} for {name!r}", "others", "the file is damaged")
            places = places.astype(np.int64) @ sides
        places = places.reshape(-1)
        ascends = (
            places.size == values.size and places.dtype.kind == "i" and bool((np.diff(places) > 0).all())
        )
        if not ascends or (places.size and (places[0] < 0 or places[-1] >= prod(shape))):
            raise self.wrong(
                f"ascending places inside of {shape} for {name!r}", "others", "the file is damaged"
            )
        dense = np.zeros(prod(shape), values.dtype)
        dense[places] = values.reshape(-1)
        return dense.reshape(shape)

    def _settings(self, node: Any) -> dict[str, Any]:
        """Attributes that are numbers, words, lists of numbers or a tensor."""
        found: dict[str, Any] = {}
        for each in node.attribute:
            if each.type in (1, 2):  # FLOAT, INT
                found[each.name] = each.f if each.type == 1 else each.i
            elif each.type == 3:  # STRING
                found[each.name] = each.s.decode("utf-8", "replace")
            elif each.type == 4:  # TENSOR
                found[each.name] = self._array(each.t)
            elif each.type in (6, 7):  # FLOATS, INTS
                found[each.name] = tuple(each.floats if each.type == 6 else each.ints)
        return found

    def _sizes(self, value: Any) -> tuple[Any, ...]:
        """Of an input of float32: numbers, and names of sizes that are open; () for any other input."""
        if value.type.tensor_type.elem_type != 1:
            return ()
        dims = value.type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)

    def _dequantized(self, operation: Operation) -> None:
        """A known number in integers as what it stands for: a zero point is a zero."""
        if (
            operation.op != "DequantizeLinear"
            or not {*filter(None, operation.reads)} <= self.constants.keys()
        ):
            return
        held, scale, *more = (self.constants[name] for name in operation.reads if name)
        axis = operation.settings.get("axis", 1)
        rank = held.ndim
        if scale.size > 1 and not (-rank <= axis < rank and scale.size == held.shape[axis]):
            raise self.wrong(
                f"a scale for each of {held.shape} along {axis}", f"{scale.size}", "the file is damaged"
            )
        if more and more[0].size != scale.size:
            raise self.wrong("as many zero points as scales", f"{more[0].size}", "the file is damaged")
        sides = [-1 if scale.size > 1 and at == axis % rank else 1 for at in range(rank)]
        away = held.astype(np.int64) - (more[0].astype(np.int64).reshape(sides) if more else 0)
        self.constants[operation.makes[0]] = (away * scale.reshape(sides)).astype(np.float32)
