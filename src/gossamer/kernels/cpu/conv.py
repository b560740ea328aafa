"""Convolutions of whole batches by the compiled core, on torch tensors: the product and both gradients."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gossamer.errors import DtypeError, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.layouts.arrays import Array
from gossamer.layouts.geometry import Geometry, Pair
from gossamer.layouts.planes import Planes, border_of, places

if TYPE_CHECKING:
    from torch import Tensor

IMAGES: Final = struct.Struct("53q")
_FUNCTIONS: Final = {
    "conv": "gs_conv_images",
    "conv_grad_input": "gs_conv_grad_input",
    "conv_grad_values": "gs_conv_grad_values",
}


class _Prepared(NamedTuple):
    """What calls of one geometry, size and number of outputs share."""

    fields: tuple[int, ...]  # both planes, places, plane_of
    size: Pair  # of the output
    held: tuple[Array, ...]


def training_planes(geometry: Geometry, height: int, width: int, n_out: int) -> tuple[Planes, Planes]:
    """Planes of one pitch for input and output, so that one offset a tap leads from any position to what it reads.

    Args:
        geometry: Geometry - with a border of zeros.
        height: int - of the input, in pixels.
        width: int - of the input, in pixels.
        n_out: int - channels of the output.

    Returns:
        (input, output) - the input in a phase a stride; the output with zeros wherever a pixel of the input reads past it.

    Raises:
        ShapeError: the convolution is not defined on images of this size.

    Example:
        >>> before, after = training_planes(Geometry(3, (3, 3)), 8, 8, 4)
        >>> before.pitch, after.pitch, after.border
        (8, 8, (2, 2))
    """
    out, phases = geometry.out_size(height, width), geometry.stride
    need = border_of(geometry, height, width, phases)
    beyond = []
    befores = (geometry.padding[2], geometry.padding[0])
    for axis, (size, count, before) in enumerate(zip((height, width), out, befores, strict=True)):
        first = -before // phases[axis]  # of all taps, in pixels of a phase
        last = ((geometry.kernel[axis] - 1) * geometry.dilation[axis] - before) // phases[axis]
        beyond.append(max(last, -(-size // phases[axis]) - first - count, 0))
    pitch = max(out[1] + beyond[1], -(-width // phases[1]) + need[1])
    before_border = need[0], pitch - -(-width // phases[1])
    return (
        Planes(geometry.channels, height, width, before_border, phases),
        Planes(n_out, *out, (beyond[0], pitch - out[1])),
    )


@lru_cache(maxsize=512)
def _prepared(geometry: Geometry, height: int, width: int, n_out: int) -> _Prepared:
    """Planes and places as the core reads them."""
    before, after = training_planes(geometry, height, width, n_out)
    where = places(geometry, before, after)
    shifts = places(replace(geometry, channels=1, groups=1), replace(before, channels=1), replace(after))
    del shifts
    plane_of = _planes_read(geometry)
    inside = () if where.inside is None else (where.inside,)
    fields = (
        *_planes(before), *_planes(after),
        len(where.columns), n_out // geometry.groups, where.group_step, len(where.spans), where.step, where.split,
        *where.reads, where.writes, len(inside[0]) if inside else 0,
        pack.address(where.columns), pack.address(where.spans), pack.address(inside[0]) if inside else 0,
        pack.address(plane_of),
    )  # fmt: skip
    return _Prepared(fields, (after.height, after.width), (where.columns, where.spans, *inside, plane_of))


def _planes(planes: Planes) -> tuple[int, ...]:
    return planes.channels, planes.height, planes.width, *planes.border, *planes.phases


def _planes_read(geometry: Geometry) -> Array:
    """int32 [n_in]: the plane that a column of the first group reads."""
    (kh, kw), (sh, sw) = geometry.kernel, geometry.stride
    y = ((np.arange(kh) * geometry.dilation[0] - geometry.padding[2]) % sh)[:, None, None]
    x = ((np.arange(kw) * geometry.dilation[1] - geometry.padding[0]) % sw)[None, :, None]
    channel = np.arange(geometry.channels // geometry.groups)
    return ((y * sw + x) * geometry.channels + channel).reshape(-1).astype(np.int32)
