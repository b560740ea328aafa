"""What the index of a layout must be, on tensors and on arrays: checks that read sizes and types, not contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gossamer.errors import DtypeError, ShapeError
from gossamer.layouts import Layout, layout, layouts
from gossamer.layouts.arrays import name_of

MOST: Final = 2**31  # neurons or inputs, which the core counts in 31 bits


def packed(array: Any) -> bool:
    """Whether the numbers of a tensor or an array lie one behind the other, where a kernel will look for them."""
    if hasattr(array, "is_contiguous"):
        return bool(array.is_contiguous())
    return bool(array.flags.c_contiguous and array.flags.aligned)


def used_values(operation: str, index: Sequence[Any], name: str, shape: Sequence[int]) -> int:
    """Values that an index has places for.

    Args:
        operation: str - named in errors.
        index: integer tensors or arrays of the layout, contiguous.
        name: str - of the layout.
        shape: the layout's integers.

    Raises:
        ShapeError: an unknown layout, integers out of range, or index tensors that do not fit them.
        DtypeError: index tensors of another type.

    Cost: O(1); contents are not read.

    Example:
        >>> import numpy as np
        >>> used_values("example", [np.array([0, 2], np.int32), np.array([1, 3], np.uint16)], "csr", [1, 4])
        2
    """
    kind = known(operation, name)
    integers, accepts = 2 + len(kind.parameters), list(kind.accepts.values())
    if len(shape) != integers or len(index) != len(accepts):
        expected = f"{len(accepts)} index tensors and {integers} integers in shape for layout {name!r}"
        raise ShapeError(operation, expected=expected, got=f"{len(index)} and {len(shape)}")
    for number in shape:
        if not isinstance(number, int) or not 0 <= number < MOST:
            raise ShapeError(operation, expected="integers from 0 to 2^31 - 1 in shape", got=f"{list(shape)}")
    for array, accepted in zip(index, accepts, strict=True):
        if name_of(array) not in accepted:
            raise DtypeError(operation, expected=f"index of {' or '.join(accepted)}", got=f"{name_of(array)}")
        if not packed(array):
            hint = "call .contiguous() once"
            raise ShapeError(
                operation, expected="contiguous index tensors", got="one with other strides", hint=hint
            )
    if expected := kind.misfit(index, shape):
        got = f"{[tuple(array.shape) for array in index]} for {list(shape)}"
        raise ShapeError(operation, expected=expected, got=got)
    return kind.used([array.shape for array in index], shape)


def known(operation: str, name: str) -> Layout:
    """The layout of a name that kernels are asked for; raises ShapeError where there is none."""
    if name in layouts and layouts[name].kernel:
        return layout(name)
    there = ", ".join(each for each in layouts if layouts[each].kernel)
    raise ShapeError(operation, expected=f"a layout of {there}", got=repr(name))
