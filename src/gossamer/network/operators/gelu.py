"""GELU, by the error function or by a hyperbolic tangent."""

from __future__ import annotations

import math
from typing import Any, Literal

from gossamer.network.operators.base import Operator, Read, Settings, Tensors, operator
from gossamer.network.spelling import Spelling


class Approximate(Settings):
    """Which GELU."""

    approximate: Literal["none", "tanh"] = "none"


def _module(module: Any) -> Read:
    return Approximate.model_validate({"approximate": module.approximate}), {}


def _onnx(words: Spelling, xs: tuple[str, ...], s: Approximate, _held: Tensors) -> str:
    """Of float64 with a hyperbolic tangent step by step: the constants of ONNX's own are float32."""
    if s.approximate == "none" or not words.wide:
        return words.emit("Gelu", xs[0], approximate=s.approximate)
    cubic = words.emit("Mul", words.emit("Pow", xs[0], words.number(3.0)), words.number(0.044715))
    inner = words.emit("Mul", words.emit("Add", xs[0], cubic), words.number(math.sqrt(2 / math.pi)))
    twice = words.emit("Add", words.emit("Tanh", inner), words.number(1.0))
    return words.emit("Mul", words.emit("Mul", xs[0], twice), words.number(0.5))


operator(
    Operator(
        "gelu",
        lambda torch, xs, s, _t: torch.nn.functional.gelu(xs[0], approximate=s.approximate),
        ulps=4,
        settings=Approximate,
        modules={"torch.nn.GELU": _module},
        calls={"torch.nn.functional.gelu": Approximate},
        elementwise=True,
        activations={
            "gelu": lambda _: Approximate(),
            "gelu_tanh": lambda _: Approximate(approximate="tanh"),
        },
        onnx=_onnx,
    )
)
