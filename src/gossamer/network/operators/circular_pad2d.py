"""A border around images that shows their other side."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.layouts.arrays import Array
from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import (
    Border,
    Inputs,
    Operator,
    Read,
    Settings,
    Shape,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.operators.spatial import images
from gossamer.network.spelling import Spelling


class Wrapped(Settings):
    """Pixels left, right, above and below."""

    border: tuple[Border, Border, Border, Border]


def _shape(shapes: tuple[Shape, ...], s: Wrapped) -> Shape:
    """Both sides grow by their border, which is no larger than the image.

    Example:
        >>> _shape(((0, 3, 8, 8),), Wrapped(border=(1, 2, 0, 4)))
        (0, 3, 12, 11)
    """
    batch, channels, height, width = images(shapes)
    left, right, top, bottom = s.border
    if max(left, right) > width or max(top, bottom) > height:
        raise ValueError(f"a border of {list(s.border)} around {height} x {width} pixels")
    return batch, channels, height + top + bottom, width + left + right


def _shown(x: Any, s: Wrapped) -> tuple[Array, Array]:
    """The row and the column that stand at each place."""
    left, right, top, bottom = s.border
    height, width = x.height, x.width
    return np.arange(-top, height + bottom) % height, np.arange(-left, width + right) % width


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Wrapped, _held: Tensors) -> Image:
    return lowering.move(xs[0], *_shown(xs[0], s))


def _arrays(xs: Inputs, s: Wrapped, _held: Tensors) -> Any:
    left, right, top, bottom = s.border
    return np.pad(xs[0], ((0, 0), (0, 0), (top, bottom), (left, right)), mode="wrap")


def _onnx(words: Spelling, xs: tuple[str, ...], s: Wrapped, _held: Tensors) -> str:
    (x,) = xs
    rows, columns = _shown(Image(0, *words.shapes[0][1:]), s)
    return words.emit("Gather", words.emit("Gather", x, words.constant(rows), axis=2),
                      words.constant(columns), axis=3)  # fmt: skip


def _call(pad: Any, mode: str = "constant", value: float | None = None) -> Wrapped:
    if mode != "circular" or value or len(pad) != 4:
        raise Unsupported(f"mode {mode!r}, of {len(pad)} numbers")
    return Wrapped(border=tuple(pad))


def _module(module: Any) -> Read:
    return Wrapped(border=tuple(module.padding)), {}


operator(
    Operator(
        "circular_pad2d",
        lambda torch, xs, s, _t: torch.nn.functional.pad(xs[0], s.border, mode="circular"),
        _arrays,
        settings=Wrapped,
        modules={"torch.nn.CircularPad2d": _module},
        calls={"torch.nn.functional.pad": _call},
        shape=_shape,
        channels=lambda _settings: "kept",
        lower=_lower,
        onnx=_onnx,
    )
)
