"""What convolutions and pools share: windows of two sides that slide over [batch, channels, height, width]."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Border, Settings, Shape, Step

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
