"""What a stretch of a network does to images, said in the few kinds of steps that the core has; see ``placing``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gossamer.kernels.cpu import pack
from gossamer.kernels.cpu.steps import WINDOW

if TYPE_CHECKING:
    from gossamer.layouts import Encoded
    from gossamer.layouts.arrays import Array
    from gossamer.layouts.geometry import Geometry

Pair = tuple[int, int]


class NotLowered(Exception):
    """Shapes or settings that the core has no step for; the message says which, ``node`` of what."""

    node = ""


@dataclass(frozen=True)
class Image:
    """A value: [channels, height, width] for each image of a batch, by its number."""

    number: int
    channels: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int, int]:
        """Its three sizes."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class Work:
    """What makes an image out of others; fields that its kind does not have are None.

    Args:
        kind: of ``kernels.cpu.steps.KINDS``, or "input", "join", "part".
        name: str - of the node.
        reads: Images; the second one of a convolution or a map is added.
        makes: Image.
    """

    kind: str
    name: str
    reads: tuple[Image, ...]
    makes: Image
    rows: Array | None = None
    cols: Array | None = None
    windows_h: Array | None = None
    windows_w: Array | None = None
    dilation: Pair = (1, 1)
    scale: Array | None = None
    shift: Array | None = None
    form: Encoded | None = None
    bias: Array | None = None
    geometry: Geometry | None = None
    activation: str | None = None
    slope: float = 0.0
    first: int = 0  # of a part: its first channel


@dataclass
class Lowering:
    """The works of a stretch, as its nodes say them one after the other.

    Example:
        >>> lowering = Lowering()
        >>> x = lowering.input("x", (3, 8, 8))
        >>> lowering.name = "pool"
        >>> lowering.window(x, "max pool", windows(8, 2, 2, 0, 4), windows(8, 2, 2, 0, 4)).size
        (3, 4, 4)
    """

    works: list[Work] = field(default_factory=list)
    name: str = ""

    def input(self, name: str, size: tuple[int, int, int]) -> Image:
        """What a call brings along."""
        self.name = name
        return self._add("input", (), size)

    def convolution(
        self,
        x: Image,
        form: Encoded,
        geometry: Geometry,
        bias: Array | None = None,
        more: Image | None = None,
        activation: str | None = None,
        slope: float = 0.0,
    ) -> Image:
        """``activation(W x + bias + more)``; a border of other numbers than zeros is laid around x first."""
        left, right, top, bottom = geometry.padding
        if geometry.mode != "zeros" and any(geometry.padding):
            rows = _around(x.height, top, bottom, geometry.mode)
            x = self.move(x, rows, _around(x.width, left, right, geometry.mode))
            geometry = geometry.unpadded
        if x.channels != geometry.channels:
            raise NotLowered(f"{x.channels} channels for {geometry.channels}")
        reads = (x,) if more is None else (x, more)
        geometry = geometry.within(x.height, x.width)
        size = (form.shape[0], *geometry.out_size(x.height, x.width))
        if more is not None and more.size != size:
            raise NotLowered(f"a residual of {more.size} for {size}")
        return self._add(
            "conv", reads, size, form=form, bias=bias, geometry=geometry, activation=activation, slope=slope
        )

    def window(self, x: Image, kind: str, high: Array, wide: Array, dilation: Pair = (1, 1)) -> Image:
        """A pool of the given windows along rows and columns."""
        size = x.channels, len(high), len(wide)
        return self._add(kind, (x,), size, windows_h=high, windows_w=wide, dilation=dilation)

    def move(self, x: Image, rows: Array, cols: Array) -> Image:
        """Pixel (y, x) is that at (rows[y], cols[x]), or zero where one of them is negative."""
        size = x.channels, len(rows), len(cols)
        return self._add("move", (x,), size, rows=rows.astype(np.int32), cols=cols.astype(np.int32))

    def number_by_number(
        self,
        x: Image,
        more: Image | None = None,
        *,
        scale: Array | None = None,
        shift: Array | None = None,
        activation: str | None = None,
        slope: float = 0.0,
    ) -> Image:
        """``activation(scale * x + shift + more)``, with a scale and a shift for each channel."""
        if activation not in pack.ACTIVATIONS:
            raise NotLowered(f"activation {activation}")
        if more is not None and more.size != x.size:
            raise NotLowered(f"summands of {x.size} and {more.size}")
        reads = (x,) if more is None else (x, more)
        return self._add("map", reads, x.size, scale=scale, shift=shift, activation=activation, slope=slope)

    def join(self, images: tuple[Image, ...]) -> Image:
        """The channels of several images side by side."""
        if len({image.size[1:] for image in images}) > 1:
            raise NotLowered(f"images of {[image.size for image in images]} side by side")
        return self._add("join", images, (sum(image.channels for image in images), *images[0].size[1:]))

    def part(self, x: Image, first: int, end: int) -> Image:
        """Some neighbouring channels."""
        return self._add("part", (x,), (end - first, x.height, x.width), first=first)

    def _add(self, kind: str, reads: tuple[Image, ...], size: tuple[int, int, int], **more: object) -> Image:
        if min(size) < 1:
            raise NotLowered(f"an image of {size}")
        made = Image(len(self.works), *size)
        self.works.append(Work(kind, self.name, reads, made, **more))  # type: ignore[arg-type]
        return made


def windows(
    size: int, kernel: int, stride: int, border: int, count: int, *, dilation: int = 1, counted: bool = False
) -> Array:
    """The windows of a pool along one side.

    Args:
        size: int - pixels of the side.
        kernel: int - numbers of a window.
        stride: int - pixels from one window to the next.
        border: int - pixels before the first.
        count: int - of windows.
        dilation: int - pixels from one number of a window to the next.
        counted: bool - whether the border counts in the divisor.

    Returns:
        WINDOW [count].

    Raises:
        NotLowered: a window without a pixel.

    Example:
        >>> windows(5, 3, 2, 1, 3).tolist()
        [(0, 2, 2.0), (1, 4, 3.0), (3, 5, 2.0)]
    """
    begin = np.arange(count) * stride - border
    end = begin + dilation * (kernel - 1) + 1
    first = np.where(begin < 0, begin % dilation, begin)  # the first pixel inside
    last = np.minimum(end, size)
    if bool((first >= last).any()):
        raise NotLowered("a window without a pixel")
    whole = np.minimum(end, size + border) - begin
    return _made(first, last, whole if counted else -(-(last - first) // dilation))


def even_windows(size: int, count: int) -> Array:
    """``count`` windows that cover one side, as adaptive pools have them.

    Example:
        >>> even_windows(5, 2).tolist()
        [(0, 3, 3.0), (2, 5, 3.0)]
    """
    begin = np.arange(count) * size // count
    end = -(-(np.arange(count) + 1) * size // count)
    return _made(begin, end, end - begin)


def _made(begin: Array, end: Array, divisor: Array) -> Array:
    made = np.empty(len(begin), WINDOW)
    made["begin"], made["end"], made["divisor"] = begin, end, divisor
    return made


def _around(size: int, before: int, behind: int, mode: str) -> Array:
    """Which pixel stands at each place of a side with its border."""
    at = np.arange(-before, size + behind)
    if mode == "circular":
        return at % size
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at >= size, 2 * (size - 1) - at, at)
    return np.clip(at, 0, size - 1)
