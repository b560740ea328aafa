"""A value and one number: sum, difference, product or quotient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import Inputs, Number, Operator, Settings, Tensors, operator

Name = Literal["add", "sub", "mul", "div"]
NAMES: Final[tuple[Name, ...]] = ("add", "sub", "mul", "div")
IN_NUMPY: Final = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide}
SMALLEST: Final = 2.0**-127  # power of two whose reciprocal is finite in float32


class Scalar(Settings):
    """What is done with the number."""

    function: Name
    number: Number


def _spelled(function: Name) -> Callable[..., Scalar]:
    def call(other: float) -> Scalar:
        return Scalar(function=function, number=other)

    return call


def _tensors(torch: Any, xs: Inputs, s: Scalar, _held: Tensors) -> Any:
    return getattr(torch, s.function)(xs[0], s.number)


def _arrays(xs: Inputs, s: Scalar, _held: Tensors) -> Any:
    return IN_NUMPY[s.function](xs[0], xs[0].dtype.type(s.number))


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Scalar, _held: Tensors) -> Image:
    """As a scale or a shift of all channels; a quotient where it is the same number as a product."""
    exact = abs(math.frexp(s.number)[0]) == 0.5 and abs(s.number) >= SMALLEST  # so has float32 the reciprocal
    if s.function == "div" and not exact:
        raise NotLowered(f"a quotient by {s.number}")
    scale, shift = {  # x + -0.0 is x, of both zeros
        "add": (1.0, s.number),
        "sub": (1.0, -s.number),
        "mul": (s.number, -0.0),
        "div": (1 / (s.number or 1.0), -0.0),
    }[s.function]
    scales, shifts = (np.full(xs[0].channels, number, np.float32) for number in (scale, shift))
    return lowering.number_by_number(xs[0], scale=scales, shift=shifts)


CALLS: Final[dict[str, Name]] = {
    **{f"operator.{name}": name for name in NAMES if name != "div"},
    "operator.truediv": "div",
    **{f"torch.{name}": name for name in NAMES},
    **{f".{name}": name for name in NAMES},
}

operator(
    Operator(
        "scalar",
        _tensors,
        _arrays,
        settings=Scalar,
        lower=_lower,
        calls={path: _spelled(name) for path, name in CALLS.items()},
        elementwise=True,
        onnx=lambda words, xs, s, _t: words.emit(s.function.capitalize(), xs[0], words.number(s.number)),
    )
)
