"""How images lie in memory for a convolution, and where its columns read: planes of one channel, with zeros between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from gossamer.errors import ShapeError
from gossamer.layouts.arrays import Array
from gossamer.layouts.geometry import Geometry, Pair
from gossamer.layouts.phases import first_pixel, phase_of

VECTOR: Final = 16  # elements of the widest vector, which kernels may read past the last position
SLACK: Final = 8  # bytes after the bits of `inside`, which kernels may read


@dataclass(frozen=True)
class Planes:
    """One image in memory: a plane a channel, rows of pixels with zeros after each, rows of zeros after the last.

    The zeros after a row are the border left of the next one as well, and those after a plane the border above the
    next. Pixels that lie a multiple of ``phases`` apart may have planes of their own, for a reader of that stride.

    Args:
        channels: int.
        height, width: int >= 1, in pixels.
        border: (rows, columns) of zeros between neighbours.
        phases: (height, width), each >= 1.

    Example:
        >>> planes = Planes(8, 7, 7, border=(1, 1))
        >>> planes.pitch, planes.plane, planes.at(1, 0, 3) - planes.guard
        (8, 64, 67)
    """

    channels: int
    height: int
    width: int
    border: Pair = (0, 0)
    phases: Pair = (1, 1)

    @property
    def pitch(self) -> int:
        """Elements from one row of a plane to the next."""
        return -(-self.width // self.phases[1]) + self.border[1]

    @property
    def rows(self) -> int:
        """Rows of a plane, those of its border among them."""
        return -(-self.height // self.phases[0]) + self.border[0]

    @property
    def plane(self) -> int:
        """Elements of one plane."""
        return self.rows * self.pitch

    @property
    def count(self) -> int:
        """Planes: one a phase and channel, the channels of a phase side by side."""
        return self.channels * self.phases[0] * self.phases[1]

    @property
    def guard(self) -> int:
        """Elements of zeros before the first plane, and as many after the last."""
        border = self.border[0] * self.pitch + self.border[1] + VECTOR - 1
        return -(-border // VECTOR) * VECTOR

    @property
    def size(self) -> int:
        """Elements in all."""
        return 2 * self.guard + self.count * self.plane

    def at(self, channel: int, y: int, x: int) -> int:
        """The element that holds a pixel, or, for y and x outside of the image, its border."""
        (down, along), (row, column) = self.phases, self.border
        if not (-row <= y // down < self.rows and -column <= x // along < self.pitch):
            got = f"pixel ({y}, {x})"
            raise ShapeError("Planes", expected=f"a pixel of {self} or its border", got=got)
        plane = phase_of(y, x, self.phases) * self.channels + channel
        place: int = self.guard + plane * self.plane + y // down * self.pitch + x // along
        return place


class Places(NamedTuple):
    """Where a convolution reads and writes: ``gs_places`` of the C header, whose positions count from the guard."""

    columns: Array  # int32 [n_in]: elements from an input position to what the column reads there
    group_step: int  # elements from the channels of one group to those of the next
    spans: Array  # int64 [n, 3]: input position, output position, how many output positions follow
    inside: Array | None  # uint8: a bit a position, every span begins a byte; None: all are inside
    step: int  # input positions from one position of a span to the next
    split: int  # 0, or elements from the even positions of a span to the odd ones
    reads: Pair  # first element that may be read, and the end
    writes: int  # the end of what may be written


def border_of(geometry: Geometry, height: int, width: int, phases: Pair = (1, 1)) -> Pair:
    """The border that planes need for a convolution to read them.

    Args:
        geometry: Geometry.
        height: int >= 1 - of the input, in pixels.
        width: int >= 1 - of the input, in pixels.
        phases: of the planes.

    Returns:
        (rows, columns).

    Raises:
        ShapeError: from ``geometry.out_size``.

    Example:
        >>> border_of(Geometry(3, (7, 7), stride=(2, 2), padding=(3, 3, 3, 3)), 224, 224, (2, 2))
        (2, 2)
    """
    left, _, top, _ = geometry.padding
    needed = []
    sizes = zip((height, width), geometry.out_size(height, width), (top, left), phases, range(2), strict=True)
    for size, out, before, phase, axis in sizes:
        reach = (geometry.kernel[axis] - 1) * geometry.dilation[axis]
        last = (out - 1) * geometry.stride[axis] - before + reach
        needed.append(max(-(-before // phase), last // phase - (-(-size // phase) - 1), 0))
    return needed[0], needed[1]


class _Rows(NamedTuple):
    """Rows of output positions that are read and written alike."""

    read: int  # input position of the first
    down: int  # input positions from one row to the next
    write: int  # output position of the first
    rows: int  # that hold pixels
    pixels: int  # of each


@lru_cache(maxsize=512)
def places(geometry: Geometry, planes_in: Planes, planes_out: Planes) -> Places:
    """Where a convolution reads its input planes and writes its output planes.

    Args:
        geometry: Geometry - with borders of zeros.
        planes_in: Planes - of the input; its phases divide the stride, or are those of the output where the convolution
            is pointwise.
        planes_out: Planes - of the output; at most two phases along a row.

    Returns:
        Places - one span where all rows follow each other in both, else a span a row; every element of the output
        planes is in a span.

    Raises:
        ShapeError: planes of another size, with too small a border, or with phases that the convolution cannot read or
            write.

    Cost: O(columns + output positions) once; the last 512 are kept.

    Example:
        >>> same = Planes(1, 2, 2, border=(1, 1))
        >>> found = places(Geometry(1, (3, 3), padding=(1, 1, 1, 1)), same, same)
        >>> found.columns.tolist(), found.spans.tolist(), bin(found.inside[0])
        ([-4, -3, -2, -1, 0, 1, 2, 3, 4], [[0, 0, 9]], '0b11011')
    """
    _check(geometry, planes_in, planes_out)
    if geometry.pointwise and planes_in.phases == planes_out.phases:
        parts, step, split = list(_alike(planes_in, planes_out)), 1, 0
    else:
        parts, step = (
            list(_by_rows(geometry, planes_in, planes_out)),
            geometry.stride[1] // planes_in.phases[1],
        )
        split = 0 if planes_out.phases[1] == 1 else planes_out.channels * planes_out.plane
    columns, group_step = _columns(geometry, planes_in)
    spans, inside = _spans(parts, planes_out, step, split)
    for array in (columns, spans, inside):
        if array is not None:
            array.flags.writeable = False
    reads = (-planes_in.guard, planes_in.size - planes_in.guard)
    return Places(columns, group_step, spans, inside, step, split, reads, planes_out.size - planes_out.guard)


def _check(geometry: Geometry, planes_in: Planes, planes_out: Planes) -> None:
    """Whether the three fit each other."""
    size = geometry.out_size(planes_in.height, planes_in.width)
    if geometry.mode != "zeros" and any(geometry.padding):
        raise ShapeError(
            "places", expected="a border of zeros", got=geometry.mode, hint="pad the input first"
        )
    if planes_in.channels != geometry.channels or (planes_out.height, planes_out.width) != size:
        expected = f"{geometry.channels} channels to {size[0]} x {size[1]} pixels"
        raise ShapeError("places", expected=expected, got=f"{planes_in} to {planes_out}")
    need = border_of(geometry, planes_in.height, planes_in.width, planes_in.phases)
    if need[0] > planes_in.border[0] or need[1] > planes_in.border[1]:
        raise ShapeError("places", expected=f"a border of at least {need}", got=f"{planes_in.border}")
    divide = all(s % p == 0 for s, p in zip(geometry.stride, planes_in.phases, strict=True))
    if (not divide or planes_out.phases[1] > 2) and not (
        geometry.pointwise and planes_in.phases == planes_out.phases
    ):
        expected = "input phases that divide the stride, and at most two output phases along a row"
        raise ShapeError("places", expected=expected, got=f"{planes_in.phases} to {planes_out.phases}")


def _columns(geometry: Geometry, planes: Planes) -> tuple[Array, int]:
    """Elements from an input position to what each column reads, and from one group of channels to the next."""
    (y, x), (down, along) = _taps(geometry), planes.phases
    read = planes_read(geometry, planes.phases)
    columns = (read * planes.plane + y // down * planes.pitch + x // along).reshape(-1)
    if planes.size >= 2**31:
        raise ShapeError("places", expected="planes of fewer than 2^31 elements", got=f"{planes.size}")
    return columns.astype(np.int32), read.shape[2] * planes.plane


def planes_read(geometry: Geometry, phases: Pair) -> Array:
    """int64 [kh, kw, channels of a group]: the plane that each column of the first group reads.

    Args:
        geometry: Geometry.
        phases: of the planes.

    Example:
        >>> planes_read(Geometry(5, (1, 3), stride=(1, 2), padding=(1, 1, 0, 0)), (1, 2))[0, :, 0].tolist()
        [5, 0, 5]
    """
    channels = np.arange(geometry.channels // geometry.groups)
    read: Array = phase_of(*_taps(geometry), phases) * geometry.channels + channels
    return read


def _taps(geometry: Geometry) -> tuple[Array, Array]:
    """[kh, 1, 1] and [1, kw, 1]: pixels from that of an output's own place to what each tap reads."""
    (kh, kw), (left, _, top, _) = geometry.kernel, geometry.padding
    y = np.arange(kh) * geometry.dilation[0] - top
    x = np.arange(kw) * geometry.dilation[1] - left
    return y[:, None, None], x[None, :, None]


def _alike(planes_in: Planes, planes_out: Planes) -> Iterator[_Rows]:
    """Of a convolution that reads each pixel at its own place: phase by phase."""
    down, along = planes_in.phases
    steps = planes_in.channels * planes_in.plane, planes_out.channels * planes_out.plane
    for phase in range(down * along):
        row, column = first_pixel(phase, planes_in.phases)
        rows = max(-(-(planes_in.height - row) // down), 0)
        pixels = max(-(-(planes_in.width - column) // along), 0)
        yield _Rows(phase * steps[0], planes_in.pitch, phase * steps[1], rows, pixels)


def _by_rows(geometry: Geometry, planes_in: Planes, planes_out: Planes) -> Iterator[_Rows]:
    """Of any other: the output rows of one phase after the other."""
    down, along = planes_out.phases
    step = geometry.stride[0] // planes_in.phases[0] * planes_in.pitch
    for phase in range(down):
        rows = max(-(-(planes_out.height - phase) // down), 0)
        write = phase * along * planes_out.channels * planes_out.plane
        yield _Rows(phase * step, down * step, write, rows, planes_out.width)


def _spans(parts: list[_Rows], planes: Planes, step: int, split: int) -> tuple[Array, Array | None]:
    """Spans and their bits: all rows of a part at once where they follow each other in both planes."""
    pitch, double = planes.pitch, 2 if split else 1
    spans, bits = [], []
    for part in parts:
        held = np.zeros((planes.rows, pitch * double), bool)
        held[: part.rows, : part.pixels] = True
        last = 0 if step == 1 and not split and part.down == pitch else max(part.rows - 1, 0)
        for row in range(last + 1):  # the rows of zeros go with the last one
            end = planes.rows if row == last else row + 1
            spans.append(
                (part.read + row * part.down, part.write + row * pitch, (end - row) * pitch * double)
            )
            bits.append(np.packbits(held[row:end], bitorder="little"))
    whole = all(part.rows == planes.rows and part.pixels == pitch * double for part in parts)
    inside = None if whole else np.concatenate([*bits, np.zeros(SLACK, np.uint8)])
    return np.array(spans, np.int64).reshape(-1, 3), inside
