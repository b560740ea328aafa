"""Images made larger by repeating their nearest pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import (
    Inputs,
    Operator,
    Read,
    Settings,
    Shape,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.operators.spatial import Pair, images, pair
from gossamer.network.spelling import Spelling


class Larger(Settings):
    """How many times larger, or the size of the result."""

    scale: Pair | None = None
    size: Pair | None = None


def _shape(shapes: tuple[Shape, ...], s: Larger) -> Shape:
    """Height and width times the scale, or the size.

    Example:
        >>> _shape(((0, 3, 4, 5),), Larger(scale=(2, 3))), _shape(((0, 3, 4, 5),), Larger(size=(7, 2)))
        ((0, 3, 8, 15), (0, 3, 7, 2))
    """
    batch, channels, height, width = images(shapes)
    if (s.scale is None) == (s.size is None):
        raise ValueError("a scale and a size" if s.size else "neither a scale nor a size")
    return (
        batch,
        channels,
        *(s.size or (height * s.scale[0], width * s.scale[1]) if s.scale else s.size or ()),
    )


def _nearest(size: int, wanted: int) -> Any:
    """[wanted]: which of the pixels along one side is read, as torch computes it in float32."""
    step = np.float32(size) / np.float32(wanted)
    return np.minimum((np.arange(wanted, dtype=np.float32) * step).astype(np.int64), size - 1)


def _arrays(xs: Inputs, s: Larger, _held: Tensors) -> Any:
    (x,) = xs
    if s.scale is not None:
        return x.repeat(s.scale[0], axis=2).repeat(s.scale[1], axis=3)
    rows, columns = (_nearest(size, wanted) for size, wanted in zip(x.shape[2:], s.size or (), strict=True))
    return x[:, :, rows[:, None], columns]


def _tensors(torch: Any, xs: Inputs, s: Larger, _held: Tensors) -> Any:
    scale = None if s.scale is None else tuple(map(float, s.scale))
    return torch.nn.functional.interpolate(xs[0], s.size, scale, mode="nearest")


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Larger, _held: Tensors) -> Image:
    (x,) = xs
    if s.scale is not None:
        return lowering.move(
            x, *(np.arange(size).repeat(by) for size, by in zip(x.size[1:], s.scale, strict=True))
        )
    return lowering.move(x, *(_nearest(size, to) for size, to in zip(x.size[1:], s.size or (), strict=True)))


def _call(
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,  # noqa: ARG001 (a whole scale is the same one then)
    antialias: bool = False,
) -> Larger:
    if mode != "nearest" or align_corners or antialias:
        raise Unsupported(f"mode {mode!r}")
    if size is not None:
        return Larger(size=pair(size))
    scale = pair(scale_factor)
    if any(each is None or each != int(each) for each in scale):
        raise Unsupported("a scale that is no whole number")
    return Larger(scale=(int(scale[0]), int(scale[1])))


def _module(m: Any) -> Read:
    return _call(m.size, m.scale_factor, m.mode, m.align_corners, m.recompute_scale_factor), {}


def _onnx(words: Spelling, xs: tuple[str, ...], s: Larger, _held: Tensors) -> str:
    """A whole scale is one that every engine knows; else the pixels are named."""
    (x,) = xs
    if s.scale is not None:
        scales = words.constant(np.array((1, 1, *s.scale), np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return words.emit("Resize", x, "", scales, mode="nearest", **how)
    for axis, (size, wanted) in enumerate(zip(words.shapes[0][2:], s.size or (), strict=True), 2):
        x = words.emit("Gather", x, words.constant(_nearest(size, wanted)), axis=axis)
    return x


operator(
    Operator(
        "upsample_nearest2d",
        _tensors,
        _arrays,
        settings=Larger,
        modules=dict.fromkeys(("torch.nn.Upsample", "torch.nn.UpsamplingNearest2d"), _module),
        calls={"torch.nn.functional.interpolate": _call},
        shape=_shape,
        channels=lambda _settings: "kept",
        lower=_lower,
        onnx=_onnx,
    )
)
