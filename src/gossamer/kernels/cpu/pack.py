"""Operands as the structs of ``gossamer.h``: every field is 8 bytes, so a struct is one list of integers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

from gossamer.errors import DtypeError
from gossamer.kernels.operands import known
from gossamer.layouts.arrays import name_of
from gossamer.layouts.kernel_side import Fields
from gossamer.layouts.planes import Places

Activation = Literal[  # in the order of gs_activation
    "relu", "leaky_relu", "relu6", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "elu", "gelu", "gelu_tanh"
]  # fmt: skip
ACTIVATIONS: Final = {None: 0} | {name: number for number, name in enumerate(get_args(Activation), 1)}
MATRIX: Final = struct.Struct("17q")
CALL: Final = struct.Struct("27qd8q")
LAYER: Final = struct.Struct("19qd")
CHAIN: Final = struct.Struct("11q")

# dtype of a table row -> gs_dtype of inputs and arithmetic, and of values where they are narrower
DTYPES: Final = {
    "float32": (0, 0),
    "float64": (1, 0),
    "float32-bfloat16": (0, 2),
    "float32-int8": (0, 3),
    "float32-float16": (0, 4),
}
NARROW: Final = ("bfloat16", "int8", "float16")


def resolved(array: Any) -> Any:
    """The array itself; a copy of a tensor that says "negative" about its memory, which kernels do not hear.

    Example:
        >>> import torch
        >>> resolved(torch._neg_view(torch.ones(1))).is_neg()
        False
    """
    return array.resolve_neg() if hasattr(array, "is_neg") and array.is_neg() else array


def address(array: Any) -> int:
    """Memory address of a torch tensor or a NumPy array.

    Raises:
        DtypeError: a tensor without memory on the CPU, or whose memory does not hold what it says; see `resolved`.
    """
    if not hasattr(array, "data_ptr"):
        return int(array.ctypes.data)
    if array.is_neg() or not array.is_cpu:
        got = f"one with the negative bit on {array.device}" if array.is_neg() else f"one on {array.device}"
        raise DtypeError("kernels.cpu", expected="a tensor on the CPU, resolve_neg() called", got=got)
    try:
        return int(array.data_ptr())
    except RuntimeError:  # sparse, or a tracer's
        raise _no_memory(array) from None


def _no_memory(array: Any) -> DtypeError:
    got = f"a {type(array).__name__} of layout {array.layout}"
    return DtypeError("kernels.cpu", expected="a dense tensor with memory", got=got)


def strided(array: Any) -> tuple[Any, tuple[int, ...]]:
    """An array and its strides in elements; a copy where they cannot be said, or not to a kernel.

    Raises:
        DtypeError: a tensor without strides, such as a sparse one.
    """
    if hasattr(array, "data_ptr"):
        array = resolved(array)
        try:
            return array, array.stride()
        except RuntimeError:
            raise _no_memory(array) from None
    strides, size = array.strides, array.itemsize
    if not array.flags.aligned or any(stride < 0 or stride % size for stride in strides):
        array = array.copy()
        strides = array.strides
    return array, tuple([stride // size for stride in strides])


def contiguous(array: Any) -> Any:
    """The array in C order, in memory that kernels read; a copy where it is not."""
    if hasattr(array, "data_ptr"):
        return resolved(array).contiguous()
    return array if in_order(array) else array.copy(order="C")


def in_order(array: Any) -> bool:
    """Whether the array lies in C order already, in memory that kernels read."""
    if hasattr(array, "data_ptr"):
        return bool(array.is_contiguous())
    return bool(array.flags.c_contiguous and array.flags.aligned)


def computed(values: Any) -> str:
    """The dtype of the inputs that go with these values: narrow ones are multiplied in float32.

    Example:
        >>> import numpy as np
        >>> computed(np.zeros(1, np.int8)), computed(np.zeros(1, np.float64))
        ('float32', 'float64')
    """
    name = name_of(values)
    return "float32" if name in NARROW else name


def row_dtype(values: Any) -> str:
    """The dtype of the table rows that take these values, e.g. ``"float32"`` or ``"float32-int8"``."""
    name = name_of(values)
    return f"float32-{name}" if name in NARROW else name


def matrix(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int], scale: Any = None) -> Fields:
    """The fields of ``gs_matrix``.

    Args:
        values: [>= used], float32, float64, bfloat16, int8 or float16, contiguous - a tensor or an array.
        index: the layout's integer tensors, contiguous.
        layout: its name.
        shape: the layout's integers.
        scale: [n_out], float32: a connection of int8 values weighs ``scale[row]`` times its value; or None.

    Raises:
        DtypeError: values of another type.
        ShapeError: an unknown layout, or index tensors whose sizes differ.
    """
    kind = known("kernels.cpu", layout)
    name = row_dtype(values)
    if name not in DTYPES:
        raise DtypeError(
            "kernels.cpu", expected="float32, float64, bfloat16, int8 or float16 values", got=name
        )
    dtype, narrow = DTYPES[name]
    at_scale = 0 if scale is None else address(scale)
    return (*kind.fields(dtype, values, index, shape, address), narrow, at_scale)


def places(where: Places, rows_of_group: int) -> Fields:
    """The fields of ``gs_places``; they point to the arrays of ``where``.

    Args:
        where: Places.
        rows_of_group: int - rows of the matrix that read the same channels.
    """
    columns, spans, inside = where.columns, where.spans, where.inside
    bits, at_bits = (0, 0) if inside is None else (len(inside), address(inside))
    return (
        len(columns), rows_of_group, where.group_step, len(spans), where.step, where.split,
        *where.reads, where.writes, bits, address(columns), address(spans), at_bits,
    )  # fmt: skip
