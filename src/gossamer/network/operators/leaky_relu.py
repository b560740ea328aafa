"""Leaky ReLU, and All-ReLU, which is one whose sign goes by the layer."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Number, Operator, Read, Settings, Tensors, operator
from gossamer.network.spelling import Spelling


class Slope(Settings):
    """A leaky ReLU's slope for negative numbers."""

    negative_slope: Number = 0.01


def _module(module: Any) -> Read:
    return Slope(negative_slope=float(module.negative_slope)), {}


def _call(negative_slope: float = 0.01, inplace: bool = False) -> Slope:  # noqa: ARG001 (never in place)
    return Slope(negative_slope=float(negative_slope))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Slope, _held: Tensors) -> str:
    if not words.wide:
        return words.emit("LeakyRelu", xs[0], alpha=s.negative_slope)
    low = words.emit("Mul", xs[0], words.number(s.negative_slope))
    return words.emit("Where", words.emit("Less", xs[0], words.number(0.0)), low, xs[0])


operator(
    Operator(
        "leaky_relu",
        lambda torch, xs, s, _t: torch.nn.functional.leaky_relu(xs[0], s.negative_slope),
        settings=Slope,
        modules={"torch.nn.LeakyReLU": _module, "gossamer.nn.AllReLU": _module},
        calls={"torch.nn.functional.leaky_relu": _call},
        elementwise=True,
        activations={"leaky_relu": lambda slope: Slope(negative_slope=slope)},
        slope="negative_slope",
        onnx=_onnx,
    )
)
