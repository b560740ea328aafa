"""Numbers rounded to steps of a fixed size, within fixed bounds: inputs as eight bits hold them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gossamer.network.operators.base import Inputs, Operator, Read, Settings, Tensors, floating, operator
from gossamer.network.spelling import Spelling

Code = Annotated[int, Field(ge=-255, le=255)]


class Steps(Settings):
    """The size of a step, and the smallest and the largest number of them."""

    step: Annotated[float, Field(ge=1.2e-38, le=3.0e38)]  # whose reciprocal float32 has
    low: Code
    high: Code

    @property
    def reciprocal(self) -> float:
        """As float32 has it."""
        return float(np.float32(1) / np.float32(self.step))


def _module(module: Any) -> Read:
    return Steps(step=module.step, low=module.low, high=module.high), {}


def _tensors(torch: Any, xs: Inputs, s: Steps, _held: Tensors) -> Any:
    return torch.clamp(torch.round(xs[0] * s.reciprocal), s.low, s.high) * s.step


def _arrays(xs: Inputs, s: Steps, _held: Tensors) -> Any:
    (x,) = xs
    number = x.dtype.type
    with np.errstate(over="ignore"):  # what is beyond all numbers is beyond the bounds
        steps = np.rint(x * number(s.reciprocal))
    return np.clip(steps, number(s.low), number(s.high)) * number(s.step)


def _dtype(dtypes: tuple[str, ...]) -> str:
    if (dtype := floating(dtypes)) not in ("float32", "float64"):
        raise ValueError(f"an input of {dtype}, not float32 or float64")
    return dtype


def _onnx(words: Spelling, xs: tuple[str, ...], s: Steps, _held: Tensors) -> str:
    steps = words.emit("Round", words.emit("Mul", xs[0], words.number(s.reciprocal)))
    return words.emit(
        "Mul", words.emit("Clip", steps, words.number(s.low), words.number(s.high)), words.number(s.step)
    )


operator(
    Operator(
        "round_inputs",
        _tensors,
        _arrays,
        settings=Steps,
        modules={"gossamer.nn.InputRounding": _module},
        dtype=_dtype,
        elementwise=True,
        onnx=_onnx,
    )
)
