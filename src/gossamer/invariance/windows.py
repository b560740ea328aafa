"""What layers with windows say of their borders and strides, and the same layers at stride 1 with a circular border."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from gossamer.nn import AdaptivePolyphaseDownsample, MaskedConv2d, SparseConv2d, SparseModule, Subsample
from gossamer.trace.convolved import geometry_of

Pair = tuple[int, int]
Around = tuple[int, int, int, int]  # left, right, top, bottom
CONVOLUTIONS = (nn.Conv2d, SparseConv2d, MaskedConv2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
SAMPLERS = (AdaptivePolyphaseDownsample, Subsample)


class Window(NamedTuple):
    """A window that slides over an image.

    Args:
        kernel, stride, dilation: (height, width).
        border: what stands around the image now, of whatever numbers.
        ceil: bool - whether the last window may end outside.
        circular: bool - whether the border holds the other side of the image already.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    border: Around
    ceil: bool = False
    circular: bool = False

    @property
    def strides(self) -> bool:
        """Whether it leaves pixels out."""
        return self.stride != (1, 1)

    @property
    def around(self) -> Around:
        """The border with which a window at stride 1 keeps the size, and begins where it begins now."""
        left, _, top, _ = self.border
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        return left, reach[1] - left, top, reach[0] - top

    @property
    def misfit(self) -> str:
        """Why an image of a multiple of the stride does not become one of just as many windows, or ""."""
        left, right, top, bottom = self.border
        sides = zip(self.kernel, self.stride, self.dilation, (top + bottom, left + right), strict=True)
        for kernel, stride, dilation, border in sides:
            beyond = border - dilation * (kernel - 1) - 1
            windows = -(-beyond // stride) if self.ceil else beyond // stride
            if windows != -1:
                return f"its border of {border} pixels in all does not fit its kernel of {kernel} at stride {stride}"
        return ""


def window_of(module: nn.Module) -> Window | None:
    """Of a convolution, a pool or a sampler of exactly our classes and torch's; None for any other module.

    Example:
        >>> window_of(nn.Conv2d(3, 8, 3, stride=2, padding=1)).around, window_of(nn.ReLU())
        ((1, 1, 1, 1), None)
    """
    kind, given = type(module), vars(module)
    if kind in SAMPLERS:
        return Window(given["stride"], given["stride"], (1, 1), (0, 0, 0, 0))
    if kind in CONVOLUTIONS:
        g: Any = geometry_of(module)
        return Window(g.kernel, g.stride, g.dilation, g.padding, circular=g.mode == "circular")
    if kind in POOLS:
        kernel, stride = _pair(given["kernel_size"]), _pair(given["stride"])
        down, along = _pair(given["padding"])
        dilation = _pair(given.get("dilation", 1))
        return Window(kernel, stride, dilation, (along, along, down, down), bool(given["ceil_mode"]))
    return None


def at_stride_one(layer: Any, window: Window) -> dict[str, nn.Module]:
    """Change a convolution or a pool in place: stride 1, and a border that shows the other side of the image.

    Returns:
        The steps that it is now, by name: itself, and before it a border that it cannot lay itself.
    """
    left, right, top, bottom = around = window.around
    layer.stride = (1, 1)
    if type(layer) in POOLS:
        layer.padding, layer.ceil_mode = 0, False
        return _behind(around, layer)
    even = left == right and top == bottom
    layer.padding = (top, left) if even else (0, 0)
    layer.padding_mode = "circular" if even and any(around) else layer.padding_mode
    own = around if even else (0, 0, 0, 0)
    if isinstance(layer, SparseModule):
        geometry: Any = layer.geometry
        layer.geometry = replace(geometry, stride=(1, 1), padding=own, mode=layer.padding_mode)
    else:
        layer._reversed_padding_repeated_twice = list(own)  # noqa: SLF001 (torch's own; it pads by that)
    return {"layer": layer} if even else _behind(around, layer)


def _behind(around: Around, layer: nn.Module) -> dict[str, nn.Module]:
    border = {"border": nn.CircularPad2d(around)} if any(around) else {}
    return {**border, "layer": layer}


def _pair(size: Any) -> Pair:
    """(height, width)."""
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)
