"""What operators on several values share: the type that holds them all, and the shape that all are repeated to."""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer.network.operators.base import FLOATS, Settings, Shape


def repeated(shapes: tuple[Shape, ...], _settings: Settings) -> Shape:
    """The shape of a result number by number: sizes of one are repeated, and dimensions that are missing in front.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> repeated(((0, 3), (3,)), Settings())
        (0, 3)
    """
    n = max(map(len, shapes))
    first, second = ((1,) * (n - len(shape)) + shape for shape in shapes)
    if any(a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)):
        raise ValueError(f"values {list(shapes[0])} and {list(shapes[1])}")
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


LAST: Final = -1  # in place of an axis of time: a value of the last time alone


def one_time(shapes: tuple[Shape, ...], _settings: Settings, times: tuple[int, ...]) -> int | None:
    """The axis of time of a result number by number: the same one in all, counted from behind.

    Example:
        >>> one_time(((5, 2, 3), (5, 2, 3)), Settings(), (0, 0)), one_time(((5, 2, 3), (5, 3)), Settings(), (0, 0))
        (0, None)
    """
    n = max(map(len, shapes))
    found = {n - len(shape) + time for shape, time in zip(shapes, times, strict=True)}
    return found.pop() if len(found) == 1 else None


def promoted(dtypes: tuple[str, ...]) -> str:
    """The type that holds all, as torch has it: a float beside an integer stays what it is.

    Example:
        >>> promoted(("float32", "int64")), promoted(("float16", "bfloat16")), promoted(("uint8", "int32"))
        ('float32', 'float32', 'int32')
    """
    floats = {dtype for dtype in dtypes if dtype in FLOATS}
    if len(floats) > 1:
        return "float64" if "float64" in floats else "float32"
    return floats.pop() if floats else np.result_type(*dtypes).name
