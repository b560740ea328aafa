"""Softmax, with what it shares with its logarithm."""

from __future__ import annotations

from functools import partial
from typing import Any

from gossamer.kernels.cpu import numbers
from gossamer.network.operators.base import (
    Axis,
    Operator,
    Read,
    Settings,
    Shape,
    Unsupported,
    operator,
)


class Dim(Settings):
    """One dimension."""

    dim: Axis


def along(shapes: tuple[Shape, ...], settings: Dim) -> Shape:
    """The shape of the input, which has the dimension."""
    (shape,) = shapes
    if not -len(shape) <= settings.dim < len(shape):
        raise ValueError(f"dimension {settings.dim} of {len(shape)}")
    return shape


def beside(shapes: tuple[Shape, ...], settings: Dim, times: tuple[int, ...]) -> int | None:
    """The axis of time, where it is another one."""
    return times[0] if settings.dim % len(shapes[0]) != times[0] else None


def called(dim: int, dtype: Any = None, **_more: Any) -> Dim:
    """The settings of a call."""
    if dtype is not None:
        raise Unsupported("a dtype of its own")
    return Dim(dim=dim)


def held(module: Any) -> Read:
    """The settings of a module."""
    return Dim(dim=module.dim), {}


operator(
    Operator(
        "softmax",
        lambda torch, xs, s, _t: torch.softmax(xs[0], s.dim),
        ulps=8,
        settings=Dim,
        modules={"torch.nn.Softmax": held},
        calls=dict.fromkeys(("torch.softmax", "torch.nn.functional.softmax", ".softmax"), called),
        shape=along,
        times=beside,
        channels=lambda _settings: "along",
        core=lambda s: partial(numbers.softmax, dim=s.dim),
        onnx=lambda words, xs, s, _t: words.emit("Softmax", *xs, axis=s.dim),
    )
)
