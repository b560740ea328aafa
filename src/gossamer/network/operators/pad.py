"""A border of one number around the last dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import (
    Border,
    Inputs,
    Number,
    Operator,
    Read,
    Settings,
    Shape,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.spelling import Spelling


class Around(Settings):
    """The number, and how often it stands before and behind: of the last dimension, then of the one before, ..."""

    border: Annotated[tuple[Border, ...], Field(min_length=2, max_length=8)]
    value: Number = 0.0


def around(n: int, settings: Around) -> list[tuple[int, int]]:
    """(before, behind) of each dimension, in the order of the shape."""
    given = list(zip(settings.border[::2], settings.border[1::2], strict=False))
    if len(settings.border) % 2 or len(given) > n:
        raise ValueError(f"a border of {len(settings.border)} numbers around {n} dimensions")
    return [(0, 0)] * (n - len(given)) + given[::-1]


def _shape(shapes: tuple[Shape, ...], settings: Around) -> Shape:
    """Every size grows by its border.

    Example:
        >>> _shape(((0, 3, 8, 8),), Around(border=(1, 2, 0, 0, 4, 4)))
        (0, 11, 8, 11)
    """
    (shape,) = shapes
    sides = around(len(shape), settings)
    return tuple(size + before + behind for size, (before, behind) in zip(shape, sides, strict=True))


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Around, _held: Tensors) -> Image:
    """With rows, columns and channels of zeros."""
    batch, channels, *sides = around(4, s)
    if s.value or any(batch):
        raise NotLowered("a border of the batch, or of another number than zero")
    planes = list(zip(xs[0].size[1:], sides, strict=True))
    rows, cols = (np.pad(np.arange(size), side, constant_values=-1) for size, side in planes)
    x = lowering.move(xs[0], rows, cols) if any(map(any, sides)) else xs[0]
    if not any(channels):
        return x
    before, behind = (list(_zeros(lowering, x, count)) for count in channels)
    return lowering.join((*before, x, *behind))


def _zeros(lowering: Lowering, x: Image, count: int) -> Iterator[Image]:
    """Images of zeros of an image's size, of ``count`` channels in all."""
    for first in range(0, count, x.channels):
        part = lowering.part(x, 0, min(x.channels, count - first))
        yield lowering.move(part, np.full(x.height, -1), np.full(x.width, -1))


def _call(pad: Any, mode: str = "constant", value: float | None = None) -> Around:
    if mode != "constant":
        raise Unsupported(f"mode {mode!r}")
    return Around(border=tuple(pad), value=value or 0.0)


def _module(module: Any) -> Read:
    return Around(border=tuple(module.padding), value=float(module.value)), {}


def _arrays(xs: Inputs, s: Around, _held: Tensors) -> Any:
    return np.pad(xs[0], around(xs[0].ndim, s), constant_values=xs[0].dtype.type(s.value))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Around, _held: Tensors) -> str:
    before, behind = zip(*around(len(words.shapes[0]), s), strict=True)
    return words.emit("Pad", xs[0], words.constant(before + behind), words.number(s.value))


operator(
    Operator(
        "pad",
        lambda torch, xs, s, _t: torch.nn.functional.pad(xs[0], s.border, value=s.value),
        _arrays,
        settings=Around,
        modules=dict.fromkeys(("torch.nn.ZeroPad2d", "torch.nn.ConstantPad2d"), _module),
        calls={"torch.nn.functional.pad": _call},
        shape=_shape,
        channels=lambda _settings: "padded",
        times=lambda shapes, s, times: times[0] if around(len(shapes[0]), s)[times[0]] == (0, 0) else None,
        lower=_lower,
        onnx=_onnx,
    )
)
