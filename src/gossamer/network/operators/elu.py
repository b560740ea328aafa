"""ELU: an exponential that bends towards a limit for negative numbers."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Number, Operator, Read, Settings, Tensors, operator
from gossamer.network.spelling import Spelling


class Alpha(Settings):
    """An ELU's limit for negative numbers."""

    alpha: Number = 1.0


def _module(module: Any) -> Read:
    return Alpha(alpha=float(module.alpha)), {}


def _call(alpha: float = 1.0, inplace: bool = False) -> Alpha:  # noqa: ARG001 (never in place)
    return Alpha(alpha=float(alpha))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Alpha, _held: Tensors) -> str:
    if not words.wide:
        return words.emit("Elu", xs[0], alpha=s.alpha)
    below = words.emit("Min", xs[0], words.number(0.0))  # where the exponential does not overflow
    less = words.emit("Sub", words.emit("Exp", below), words.number(1.0))
    low = words.emit("Mul", less, words.number(s.alpha))
    return words.emit("Where", words.emit("Less", xs[0], words.number(0.0)), low, xs[0])


operator(
    Operator(
        "elu",
        lambda torch, xs, s, _t: torch.nn.functional.elu(xs[0], s.alpha),
        ulps=4,
        settings=Alpha,
        modules={"torch.nn.ELU": _module},
        calls={"torch.nn.functional.elu": _call},
        elementwise=True,
        activations={"elu": lambda slope: Alpha(alpha=slope)},
        slope="alpha",
        onnx=_onnx,
    )
)
