"""A value and one number: sum, difference, product or quotient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from gossamer.network.operators.base import Inputs, Number, Operator, Settings, Tensors, operator

Name = Literal["add", "sub", "mul", "div"]
NAMES: Final[tuple[Name, ...]] = ("add", "sub", "mul", "div")
IN_NUMPY: Final = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide}


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
        calls={path: _spelled(name) for path, name in CALLS.items()},
        elementwise=True,
    )
)
