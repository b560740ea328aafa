"""A leaky ReLU whose slope is learned: one, or one for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import Inputs, Operator, Read, Settings, Shape, Size, Tensors, operator
from gossamer.network.spelling import Spelling


class Slopes(Settings):
    """How many slopes there are."""

    count: Size


def _shape(shapes: tuple[Shape, ...], s: Slopes) -> Shape:
    """Of the input, which has as many channels as there are slopes, or there is one."""
    (shape,) = shapes
    if s.count > 1 and (len(shape) < 2 or shape[1] != s.count):
        raise ValueError(f"{s.count} slopes for {list(shape)}")
    return shape


def _arrays(xs: Inputs, _s: Slopes, held: Tensors) -> Any:
    (x,) = xs
    weight = held["weight"].reshape(-1, *[1] * (x.ndim - 2)) if x.ndim > 1 else held["weight"]
    return np.where(x > 0, x, weight * x)


def _lower(lowering: Lowering, xs: tuple[Image, ...], _s: Slopes, held: Tensors) -> Image:
    """A part of the number itself, and the rest of what is above zero."""
    (x,) = xs
    weight = np.broadcast_to(np.asarray(held["weight"]), (x.channels,)).astype(np.float32)
    none = np.zeros_like(weight)
    above = lowering.number_by_number(x, activation="relu")
    low = lowering.number_by_number(x, scale=weight, shift=none)
    return lowering.number_by_number(above, low, scale=1 - weight, shift=none)


def _module(module: Any) -> Read:
    return Slopes(count=module.num_parameters), {"weight": module.weight}


def _onnx(words: Spelling, xs: tuple[str, ...], _s: Slopes, held: Tensors) -> str:
    sides = [1] * (len(words.shapes[0]) - 2)
    return words.emit("PRelu", xs[0], words.constant(words.tensor(held["weight"]).reshape(-1, *sides)))


operator(
    Operator(
        "prelu",
        lambda torch, xs, _s, t: torch.nn.functional.prelu(xs[0], t["weight"]),
        _arrays,
        settings=Slopes,
        modules={"torch.nn.PReLU": _module},
        shapes=lambda s: {"weight": (s.count,)},
        shape=_shape,
        lower=_lower,
        onnx=_onnx,
    )
)
