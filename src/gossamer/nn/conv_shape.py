"""What a convolution of torch says of its shape, and which patterns its weight can have."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from torch import nn

from gossamer.errors import ConfigError, PatternError
from gossamer.ops import Geometry
from gossamer.patterns import Pattern

Size = int | tuple[int, ...]
Conv = nn.Conv1d | nn.Conv2d


def shape_like(dense: Any, channels: tuple[int, int], sizes: dict[str, Any], **rest: Any) -> Any:
    """A convolution of torch that has only a shape.

    Args:
        dense: nn.Conv1d or nn.Conv2d.
        channels: (int, int) - in, out.
        sizes: kernel_size, stride, padding and dilation, as torch takes them.
        rest: groups and padding_mode.
    Raises:
        ConfigError: torch would refuse them, now or at the first call.
    """
    name = dense.__name__
    numbers = [*channels, *(n for key, size in sizes.items() if key != "padding" for n in _numbers(size))]
    padding = [0] if isinstance(sizes["padding"], str) else _numbers(sizes["padding"])
    whole = all(isinstance(number, Integral) for number in [*numbers, *padding])
    if not whole or min(numbers) < 1 or min(padding, default=0) < 0:
        raise ConfigError(
            f"sparse {name}",
            expected="whole numbers: channels, kernel, stride and dilation of at least 1, padding of at least 0",
            got=f"channels {channels}, {', '.join(f'{key} {size}' for key, size in sizes.items())}",
        )
    try:
        return dense(*channels, **sizes, **rest, bias=False, device="meta")
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"sparse {name}", expected=f"arguments that nn.{name} takes", got=str(error)
        ) from None


def _numbers(size: Any) -> list[Any]:
    """Those of a size, whatever they are."""
    return list(size) if isinstance(size, (tuple, list)) else [size]


def geometry_of(conv: Any) -> Geometry:
    """The geometry of a convolution of torch; one over lines reads images of one row."""
    border = tuple(conv._reversed_padding_repeated_twice)  # noqa: SLF001 (torch's own, which knows "same")
    rest = (conv.groups, conv.padding_mode)
    if len(conv.kernel_size) == 2:
        return Geometry(conv.in_channels, conv.kernel_size, conv.stride, border, conv.dilation, *rest)
    lines = [(1, *numbers) for numbers in (conv.kernel_size, conv.stride, conv.dilation)]
    return Geometry(conv.in_channels, lines[0], lines[1], (*border, 0, 0), lines[2], *rest)


def check_taps(pattern: Pattern, geometry: Geometry, out_channels: int) -> None:
    """Refuse a pattern whose groups of inputs would not be channels of one tap, or whose outputs read other channels.

    Raises:
        PatternError.
    """
    inner, rows = geometry.channels // geometry.groups, out_channels // geometry.groups
    tied, together = pattern.neighbours, pattern.unit[0]
    if inner % tied == 0 and rows % together == 0:
        return
    expected = f"input channels divisible by {tied} and output channels by {together}"
    raise PatternError(
        f"{pattern} on a convolution",
        expected=expected + (f", in each of {geometry.groups} groups" if geometry.groups > 1 else ""),
        got=f"{inner} and {rows}",
        hint="choose other sizes, or leave the layer dense with skip=, or dense_first= where it is the first",
    )


def left_dense(conv: Any) -> str:
    """Why a convolution stays dense; empty for one that can be sparse."""
    if conv.groups > 1 and conv.groups == conv.in_channels:
        return "depth-wise: each output reads one channel, so there is hardly a weight to leave out"
    return ""
