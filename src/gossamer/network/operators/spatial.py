"""What convolutions and pools share: windows of two sides that slide over [batch, channels, height, width]."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from gossamer.layouts.arrays import Array
from gossamer.network.lowering import Image, windows
from gossamer.network.operators.base import Border, Settings, Shape, Step
from gossamer.network.spelling import Spelling

Pair = tuple[Step, Step]
Borders = tuple[Border, Border]


class Pool(Settings):
    """A window that slides."""

    kernel: Pair
    stride: Pair
    padding: Borders = (0, 0)
    ceil_mode: bool = False


def pair(value: Any) -> Any:
    """A number for both sides, or one for each.

    Example:
        >>> pair(3), pair([1, 2])
        ((3, 3), (1, 2))
    """
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def images(shapes: tuple[Shape, ...]) -> Shape:
    """The shape of a batch of images, which have a pixel at least; raises ValueError."""
    (shape,) = shapes
    if len(shape) != 4 or 0 in shape[1:]:
        raise ValueError(f"{list(shape)} for [batch, channels, height, width]")
    return shape


def pooled(shapes: tuple[Shape, ...], settings: Pool, dilation: tuple[int, int] = (1, 1)) -> Shape:
    """[batch, channels, ...] and how often the window fits into each side; with ``ceil_mode`` it may end outside.

    Example:
        >>> pooled(((1, 2, 5, 5),), Pool(kernel=(2, 2), stride=(2, 2), ceil_mode=True))
        (1, 2, 3, 3)
    """
    batch, channels, *sides = images(shapes)
    around = zip(sides, settings.kernel, settings.stride, settings.padding, dilation, strict=True)
    return (batch, channels, *(_windows(*side, ceil=settings.ceil_mode) for side in around))


def _windows(size: int, kernel: int, step: int, border: int, dilation: int, *, ceil: bool) -> int:
    """Along one side, as torch counts."""
    reach = dilation * (kernel - 1) + 1
    if 2 * border > kernel:
        raise ValueError(f"a border of {border} for a window of {kernel}")
    count = (size + 2 * border - reach + (step - 1 if ceil else 0)) // step + 1
    if ceil and (count - 1) * step >= size + border:  # the last window must begin inside
        count -= 1
    if count < 1:
        raise ValueError(f"a window of {reach} in {size + 2 * border}")
    return count


def sliding(
    x: Image, s: Pool, dilation: tuple[int, int] = (1, 1), *, counted: bool = False
) -> tuple[Array, Array]:
    """The windows of a pool along rows and columns; see ``lowering.windows``."""
    counts = pooled(((1, *x.size),), s, dilation)[2:]
    sides = zip(x.size[1:], s.kernel, s.stride, s.padding, counts, dilation, strict=True)
    high, wide = (windows(*side, dilation=apart, counted=counted) for *side, apart in sides)
    return high, wide


def slid(x: Any, s: Pool, rest: Any, take: Any, dilation: tuple[int, int] = (1, 1)) -> Any:
    """Every window's numbers taken together, along columns and then along rows.

    Args:
        x: [batch, channels, height, width].
        s: Pool.
        rest: the number of the border.
        take: (two arrays) -> array.
        dilation: between the numbers of a window.

    Returns:
        [batch, channels, ...].

    Example:
        >>> slid(np.ones((1, 1, 2, 4)), Pool(kernel=(2, 2), stride=(2, 2)), 0, np.add).tolist()
        [[[[4.0, 4.0]]]]
    """
    sides = pooled((x.shape,), s, dilation)[2:]
    for axis in (3, 2):
        at = axis - 2
        reach = (sides[at] - 1) * s.stride[at] + dilation[at] * (s.kernel[at] - 1) + 1
        behind = max(0, reach - s.padding[at] - x.shape[axis])  # a last window may end outside of the border
        border = [(0, 0)] * 4
        border[axis] = (s.padding[at], behind)
        padded = np.moveaxis(np.pad(x, border, constant_values=rest), axis, 0)
        ends = range(0, dilation[at] * s.kernel[at], dilation[at])
        parts = (padded[first : first + (sides[at] - 1) * s.stride[at] + 1 : s.stride[at]] for first in ends)
        x = np.moveaxis(reduce(take, parts), 0, axis)
    return x


def bordered(
    words: Spelling, x: str, s: Pool, rest: float, dilation: tuple[int, int] = (1, 1)
) -> tuple[str, list[int]]:
    """A pool's input and border in ONNX, as large as its windows reach: whatever an engine makes of ``ceil_mode``.

    Args:
        words: Spelling.
        x: str - its input.
        s: Pool.
        rest: the number of the border.
        dilation: between the numbers of a window.

    Returns:
        (name of the input, [top, left, bottom, right]); a border wider than a window, which engines refuse, is written
        as a node of its own.
    """
    behind = []
    around = zip(words.shapes[0][2:], words.shape[2:], s.kernel, s.stride, s.padding, dilation, strict=True)
    for size, count, kernel, step, border, apart in around:
        behind.append(max(0, (count - 1) * step + apart * (kernel - 1) + 1 - border - size))
    pads = [*s.padding, *behind]
    if all(border < kernel for border, kernel in zip(behind, s.kernel, strict=True)):
        return x, pads
    sides = words.constant((0, 0, *s.padding, 0, 0, *behind))
    return words.emit("Pad", x, sides, words.number(rest)), [0] * 4
