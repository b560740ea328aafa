"""Softmax, with what it shares with its logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.operators.base import (
    Axis,
    Inputs,
    Operator,
    Read,
    Settings,
    Shape,
    Tensors,
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


def lowered(xs: Inputs, settings: Dim) -> Any:
    """The input less its largest number along the dimension: its exponentials do not overflow."""
    (x,) = xs
    return x - x.max(axis=settings.dim, keepdims=True, initial=-np.inf)


def called(dim: int, dtype: Any = None, **_more: Any) -> Dim:
    """The settings of a call."""
    if dtype is not None:
        raise Unsupported("a dtype of its own")
    return Dim(dim=dim)


def held(module: Any) -> Read:
    """The settings of a module."""
    return Dim(dim=module.dim), {}


def _arrays(xs: Inputs, settings: Dim, _held: Tensors) -> Any:
    powers = np.exp(lowered(xs, settings))
    return powers / powers.sum(axis=settings.dim, keepdims=True)


operator(
    Operator(
        "softmax",
        lambda torch, xs, s, _t: torch.softmax(xs[0], s.dim),
        _arrays,
        ulps=8,
        settings=Dim,
        modules={"torch.nn.Softmax": held},
        calls=dict.fromkeys(("torch.softmax", "torch.nn.functional.softmax", ".softmax"), called),
        shape=along,
    )
)
