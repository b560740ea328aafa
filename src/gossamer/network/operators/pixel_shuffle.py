"""Channels become pixels: images larger by a factor along both sides, with fewer channels."""

from __future__ import annotations

from functools import reduce
from typing import Any, Literal

import numpy as np

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import Inputs, Operator, Read, Settings, Shape, Step, Tensors, operator
from gossamer.network.operators.spatial import images
from gossamer.network.spelling import Spelling


class Factor(Settings):
    """The factor, and whether the pixels of one channel lie side by side, as in torch, or each is all channels."""

    factor: Step
    order: Literal["channel first", "pixel first"] = "channel first"


def _shape(shapes: tuple[Shape, ...], s: Factor) -> Shape:
    """Sides times the factor, channels through its square.

    Example:
        >>> _shape(((0, 12, 4, 5),), Factor(factor=2))
        (0, 3, 8, 10)
    """
    batch, channels, height, width = images(shapes)
    if channels % s.factor**2:
        raise ValueError(f"{channels} channels for a factor of {s.factor}")
    return batch, channels // s.factor**2, height * s.factor, width * s.factor


def _apart(s: Factor, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of all six dimensions, and their order in the result."""
    batch, channels, height, width = shape
    rest = channels // s.factor**2
    if s.order == "channel first":
        return (batch, rest, s.factor, s.factor, height, width), (0, 1, 4, 2, 5, 3)
    return (batch, s.factor, s.factor, rest, height, width), (0, 3, 4, 1, 5, 2)


def _arrays(xs: Inputs, s: Factor, _held: Tensors) -> Any:
    apart, order = _apart(s, xs[0].shape)
    return xs[0].reshape(apart).transpose(order).reshape(_shape((xs[0].shape,), s))


def _tensors(_torch: Any, xs: Inputs, s: Factor, _held: Tensors) -> Any:
    apart, order = _apart(s, tuple(xs[0].shape))
    return xs[0].reshape(apart).permute(order).reshape(_shape((tuple(xs[0].shape),), s))


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Factor, _held: Tensors) -> Image:
    """Every pixel of a square by itself, with zeros between, and their sum."""
    (x,) = xs
    if s.order != "pixel first" or x.channels % s.factor**2:
        raise NotLowered("pixels of one channel side by side")
    count = x.channels // s.factor**2
    parts = []
    for number in range(s.factor**2):
        rows, cols = (
            np.where(np.arange(size * s.factor) % s.factor == at, np.arange(size * s.factor) // s.factor, -1)
            for size, at in zip((x.height, x.width), divmod(number, s.factor), strict=True)
        )
        parts.append(lowering.move(lowering.part(x, number * count, (number + 1) * count), rows, cols))
    return reduce(lowering.number_by_number, parts)


def _onnx(words: Spelling, xs: tuple[str, ...], s: Factor, _held: Tensors) -> str:
    mode = "CRD" if s.order == "channel first" else "DCR"
    return words.emit("DepthToSpace", xs[0], blocksize=s.factor, mode=mode)


def _module(module: Any) -> Read:
    return Factor(factor=module.upscale_factor), {}


operator(
    Operator(
        "pixel_shuffle",
        _tensors,
        _arrays,
        settings=Factor,
        modules={"torch.nn.PixelShuffle": _module},
        calls=dict.fromkeys(
            ("torch.pixel_shuffle", "torch.nn.functional.pixel_shuffle"),
            lambda upscale_factor: Factor(factor=upscale_factor),
        ),
        shape=_shape,
        dtype=lambda dtypes: dtypes[0],
        lower=_lower,
        onnx=_onnx,
    )
)
