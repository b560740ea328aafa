"""Images of another size, each pixel a mean of four, weighted by how near they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.layouts.arrays import Array
from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import (
    Inputs,
    Operator,
    Settings,
    Shape,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.operators.spatial import Pair, images, pair
from gossamer.network.spelling import Spelling


class Resized(Settings):
    """The size of the result, and whether the middles of the pixels in the corners stay where they are."""

    size: Pair
    align_corners: bool = False


def _shape(shapes: tuple[Shape, ...], s: Resized) -> Shape:
    """The size.

    Example:
        >>> _shape(((0, 3, 4, 5),), Resized(size=(7, 2)))
        (0, 3, 7, 2)
    """
    batch, channels, *_ = images(shapes)
    return batch, channels, *s.size


def between(size: int, wanted: int, *, corners: bool, dtype: Any = np.float32) -> tuple[Array, Array, Array]:
    """Along one side: the two pixels that each pixel of the result lies between, and how far behind the first.

    Args:
        size: int - pixels of the input.
        wanted: int - pixels of the result.
        corners: bool - whether the outermost ones stay where they are.
        dtype: of the images, in which torch computes places.

    Returns:
        (int64 [wanted], int64 [wanted], dtype [wanted]).

    Example:
        >>> [each.tolist() for each in between(2, 4, corners=False)]
        [[0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.25]]
    """
    kind = np.dtype(dtype).type
    at = np.arange(wanted, dtype=dtype)
    if corners:
        place = at * kind((size - 1) / (wanted - 1) if wanted > 1 else 0)
    else:
        place = np.maximum(kind(size / wanted) * (at + kind(0.5)) - kind(0.5), kind(0))
    first = np.minimum(place.astype(np.int64), size - 1)
    return first, np.minimum(first + 1, size - 1), np.clip(place - first.astype(dtype), 0, 1)


def _arrays(xs: Inputs, s: Resized, _held: Tensors) -> Any:
    (x,) = xs
    for axis, wanted in ((3, s.size[1]), (2, s.size[0])):
        first, second, share = between(x.shape[axis], wanted, corners=s.align_corners, dtype=x.dtype)
        share = share.reshape((-1,) + (1,) * (3 - axis))
        x = x.take(first, axis) * (1 - share) + x.take(second, axis) * share
    return x


def _tensors(torch: Any, xs: Inputs, s: Resized, _held: Tensors) -> Any:
    return torch.nn.functional.interpolate(xs[0], s.size, mode="bilinear", align_corners=s.align_corners)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Resized, _held: Tensors) -> Image:
    """Twice as large: three quarters of the pixel itself, and one quarter of a neighbour, along either side."""
    (x,) = xs
    if s.align_corners or s.size != (2 * x.height, 2 * x.width):
        raise NotLowered("bilinear images of other than twice the size")
    for high in (False, True):  # rows are the faster ones to repeat, and best come last
        same, size = (np.arange(x.width), x.height) if high else (np.arange(x.height), x.width)
        at = np.arange(2 * size)
        other = np.clip(at // 2 + np.where(at % 2, 1, -1), 0, size - 1)
        places = [(each, same) if high else (same, each) for each in (at // 2, other)]
        near, far = (lowering.move(x, *place) for place in places)
        quarter, none = np.full(x.channels, 0.25, np.float32), np.zeros(x.channels, np.float32)
        x = lowering.number_by_number(far, scale=quarter, shift=none)
        x = lowering.number_by_number(near, x, scale=3 * quarter, shift=none)
    return x


def _call(
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Resized:
    if mode != "bilinear" or antialias or size is None or scale_factor or recompute_scale_factor:
        raise Unsupported("other than bilinear, to a size")
    return Resized(size=pair(size), align_corners=bool(align_corners))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Resized, _held: Tensors) -> str:
    """Along one side after the other: engines take a Resize of images for one of batches, too."""
    (x,) = xs
    for axis in (3, 2):
        size, wanted = words.shapes[0][axis], s.size[axis - 2]
        first, second, share = between(size, wanted, corners=s.align_corners, dtype=words.type)
        share = share.reshape((-1,) + (1,) * (3 - axis))
        parts = [
            words.emit("Mul", words.emit("Gather", x, words.constant(at), axis=axis), words.constant(weight))
            for at, weight in ((first, 1 - share), (second, share))
        ]
        x = words.emit("Add", *parts)
    return x


operator(
    Operator(
        "upsample_bilinear2d",
        _tensors,
        _arrays,
        ulps=8,
        settings=Resized,
        calls={"torch.nn.functional.interpolate": _call},
        shape=_shape,
        channels=lambda _settings: "kept",
        lower=_lower,
        onnx=_onnx,
    )
)
