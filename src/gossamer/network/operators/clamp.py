"""Numbers kept between two bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import (
    Inputs,
    Number,
    Operator,
    Read,
    Settings,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.spelling import Spelling


class Bounds(Settings):
    """The smallest and the largest number of a result; None: no bound."""

    low: Number | None
    high: Number | None


def bounds(min: Any = None, max: Any = None) -> Bounds:  # noqa: A002 (as torch.clamp has them)
    """The settings of a call."""
    if min is None and max is None:
        raise Unsupported("no bounds")
    low, high = (None if bound is None else float(bound) for bound in (min, max))
    return Bounds(low=low, high=high)


def _hard(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Bounds:  # noqa: ARG001 (never in place)
    return bounds(min_val, max_val)


def _module(module: Any) -> Read:
    return bounds(module.min_val, module.max_val), {}


def _arrays(xs: Inputs, s: Bounds, _held: Tensors) -> Any:
    (y,) = xs
    y = y if s.low is None else np.where(y < s.low, y.dtype.type(s.low), y)
    return y if s.high is None else np.where(y > s.high, y.dtype.type(s.high), y)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Bounds, _held: Tensors) -> Image:
    """Where the core has an activation of these bounds."""
    if s.low != 0 or s.high not in (None, 6):
        raise NotLowered(f"bounds {s.low} and {s.high}")
    return lowering.number_by_number(xs[0], activation="relu" if s.high is None else "relu6")


def _onnx(words: Spelling, xs: tuple[str, ...], s: Bounds, _held: Tensors) -> str:
    low, high = ("" if bound is None else words.number(bound) for bound in (s.low, s.high))
    if s.low is not None and s.high is not None and s.low > s.high:  # which ONNX leaves open
        return words.emit("Min", words.emit("Max", xs[0], low), high)
    return words.emit("Clip", xs[0], low, high)


operator(
    Operator(
        "clamp",
        lambda torch, xs, s, _t: torch.clamp(xs[0], s.low, s.high),
        _arrays,
        settings=Bounds,
        lower=_lower,
        modules={"torch.nn.Hardtanh": _module},
        calls=dict.fromkeys(("torch.clamp", "torch.clip", ".clamp", ".clip", ".clamp_", ".clip_"), bounds)
        | {"torch.nn.functional.hardtanh": _hard},
        elementwise=True,
        onnx=_onnx,
    )
)
