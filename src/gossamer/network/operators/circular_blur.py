"""Images blurred along rows and columns by binomial weights; what leaves on one side comes in on the other."""

from __future__ import annotations

from functools import reduce
from math import comb
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gossamer.network.operators.base import Inputs, Operator, Settings, Shape, Tensors, operator
from gossamer.network.spelling import Spelling


class Blur(Settings):
    """How many weights along each side."""

    size: Annotated[int, Field(ge=2, le=7)]


def _shape(shapes: tuple[Shape, ...], _settings: Blur) -> Shape:
    """That of the input, which has rows and columns.

    Example:
        >>> _shape(((0, 3, 4, 5),), Blur(size=3))
        (0, 3, 4, 5)
    """
    if len(shapes[0]) < 2:
        raise ValueError(f"{list(shapes[0])} for [..., height, width]")
    return shapes[0]


def _weights(s: Blur) -> list[tuple[int, float]]:
    """(shift in pixels, weight) of each tap."""
    left = (s.size - 1) // 2
    return [(left - k, comb(s.size - 1, k) / 2 ** (s.size - 1)) for k in range(s.size)]


def _tensors(_torch: Any, xs: Inputs, s: Blur, _held: Tensors) -> Any:
    from gossamer.kernels.reference.polyphase import blurred

    return blurred(xs[0], s.size)


def _arrays(xs: Inputs, s: Blur, _held: Tensors) -> Any:
    (x,) = xs
    for axis in (-1, -2):
        x = reduce(np.add, [np.roll(x, shift, axis) * x.dtype.type(weight) for shift, weight in _weights(s)])
    return x


def _onnx(words: Spelling, xs: tuple[str, ...], s: Blur, _held: Tensors) -> str:
    (x,) = xs
    rank = len(words.shape)
    for axis in (rank - 1, rank - 2):
        size = words.shape[axis]
        moved = [
            words.emit("Gather", x, words.constant((np.arange(size) - shift) % max(size, 1)), axis=axis)
            for shift, _ in _weights(s)
        ]
        parts = [
            words.emit("Mul", part, words.number(weight))
            for part, (_, weight) in zip(moved, _weights(s), strict=True)
        ]
        x = words.emit("Sum", *parts)
    return x


def _call(size: int) -> Blur:
    return Blur(size=size)


operator(
    Operator(
        "circular_blur",
        _tensors,
        _arrays,
        settings=Blur,
        calls={"gossamer.ops.circular_blur": _call},
        shape=_shape,
        channels=lambda _settings: "zero",
        onnx=_onnx,
    )
)
