"""The sum of two values, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.operators.base import FLOATS, Inputs, Operator, Settings, Shape, Tensors, operator


def _shape(shapes: tuple[Shape, ...], _settings: Settings) -> Shape:
    """Sizes of one are repeated, and dimensions that are missing in front.

    Example:
        >>> _shape(((0, 3), (3,)), Settings())
        (0, 3)
    """
    n = max(map(len, shapes))
    first, second = ((1,) * (n - len(shape)) + shape for shape in shapes)
    if any(a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)):
        raise ValueError(f"summands {list(shapes[0])} and {list(shapes[1])}")
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


def _dtype(dtypes: tuple[str, ...]) -> str:
    """The type that holds both, as torch has it: a float beside an integer stays what it is.

    Example:
        >>> _dtype(("float32", "int64")), _dtype(("float16", "bfloat16")), _dtype(("uint8", "int32"))
        ('float32', 'float32', 'int32')
    """
    floats = [dtype for dtype in dtypes if dtype in FLOATS]
    if len(set(dtypes)) == 1 or len(floats) == 1:
        return (floats or dtypes)[0]
    if floats:
        return "float64" if "float64" in floats else "float32"
    return np.promote_types(*dtypes).name


def _arrays(xs: Inputs, _settings: Settings, _held: Tensors) -> Any:
    dtype = _dtype(tuple(x.dtype.name for x in xs))
    return xs[0].astype(dtype, copy=False) + xs[1].astype(dtype, copy=False)


operator(
    Operator(
        "add",
        lambda _torch, xs, _s, _t: xs[0] + xs[1],
        _arrays,
        calls=dict.fromkeys(("operator.add", "operator.iadd", "torch.add", ".add", ".add_"), Settings),
        shape=_shape,
        dtype=_dtype,
        arity=2,
    )
)
