"""Convolutions of whole batches by the compiled core, on torch tensors: the product and both gradients."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gossamer.errors import KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.operands import known
from gossamer.layouts.arrays import Array
from gossamer.layouts.geometry import Geometry, Pair
from gossamer.layouts.planes import Places, Planes, border_of, places, planes_read

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.kernels.spec import KernelSpec

IMAGES: Final = struct.Struct("53q")
_NAMES: Final = {
    "conv": "conv_images",
    "conv_grad_input": "conv_grad_input",
    "conv_grad_values": "conv_grad_values",
}


class _Prepared(NamedTuple):
    """What calls of one geometry, size and number of outputs share."""

    fields: tuple[int, ...]  # both planes, places, plane_of
    size: Pair  # of the output
    held: tuple[Places, Array]  # what the fields point to


def training_planes(geometry: Geometry, height: int, width: int, n_out: int) -> tuple[Planes, Planes]:
    """Planes of one pitch for input and output, so that one offset a tap leads from any position to what it reads.

    Args:
        geometry: Geometry - with a border of zeros.
        height: int - of the input, in pixels.
        width: int - of the input, in pixels.
        n_out: int - channels of the output.

    Returns:
        (input, output) - in a phase a stride; with zeros wherever a pixel of the input
        reads past it.

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
        Planes(n_out, out[0], out[1], (beyond[0], pitch - out[1])),
    )


@lru_cache(maxsize=512)
def _prepared(geometry: Geometry, height: int, width: int, n_out: int) -> _Prepared:
    """Planes and places as the core reads them."""
    if n_out % geometry.groups:
        expected = f"a number of outputs that {geometry.groups} groups divide"
        raise ShapeError("conv", expected=expected, got=str(n_out))
    geometry = geometry.within(height, width)
    before, after = training_planes(geometry, height, width, n_out)
    where = places(geometry, before, after)
    plane_of = planes_read(geometry, before.phases).reshape(-1).astype(np.int32)
    packed = pack.places(where, n_out // geometry.groups)
    fields = (*_planes(before), *_planes(after), *packed, pack.address(plane_of))
    return _Prepared(fields, (after.height, after.width), (where, plane_of))


def _planes(planes: Planes) -> tuple[int, ...]:
    return planes.channels, planes.height, planes.width, *planes.border, *planes.phases


class _Product:
    """One product of a table row."""

    def __init__(self, spec: KernelSpec) -> None:
        self.run, self.parallel = getattr(library.core(), f"gs_{_NAMES[spec.op]}"), library.parallel_for()
        self.op, self.layout, self.fields = spec.op, spec.layout, known("kernels.cpu", spec.layout).fields
        self.dtype, self.isa = pack.DTYPES[spec.dtype][0], library.ISAS[spec.isa]

    def __call__(
        self, values: Tensor, index: Sequence[Tensor], shape: Sequence[int], prepared: _Prepared, batch: int,
        at: tuple[int, int, int, int],
    ) -> None:  # fmt: skip
        """``at``: addresses of x, grad, bias and the result."""
        from torch import get_num_threads

        status = self.run(IMAGES.pack(
            *self.fields(self.dtype, values, index, shape, pack.address), 0, 0, self.isa, batch, get_num_threads(),
            *prepared.fields, *at, self.parallel,
        ))  # fmt: skip
        if status:
            expected = f"operands that fit layout {self.layout!r} of shape {list(shape)}"
            raise ShapeError(f"kernels.cpu.{self.op}", expected=expected, got=library.status_text(status))


def conv(product: _Product) -> Callable[..., Tensor]:
    """``f(x, values, index, bias, shape, geometry) -> y`` [batch, out, height', width'], contiguous."""

    def call(
        x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, shape: Sequence[int],
        geometry: Geometry,
    ) -> Tensor:  # fmt: skip
        x, geometry = _thinned(x, geometry)
        x = pack.contiguous(x)
        prepared = _prepared(geometry, x.shape[2], x.shape[3], shape[0])
        y = x.new_empty(x.shape[0], shape[0], *prepared.size)
        at_bias = 0 if bias is None else pack.address(bias)
        product(values, index, shape, prepared, x.shape[0], (pack.address(x), 0, at_bias, pack.address(y)))
        return y

    return call


def conv_grad_input(product: _Product) -> Callable[..., Tensor]:
    """``f(grad, values, index, shape, geometry, size) -> gradient of x`` [batch, channels, *size], contiguous."""

    def call(
        grad: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int], geometry: Geometry,
        size: Sequence[int],
    ) -> Tensor:  # fmt: skip
        (down, along), thin = geometry.stride, _thin(geometry)
        height, width = (-(-size[0] // down), -(-size[1] // along)) if thin else size
        prepared = _prepared(replace(geometry, stride=(1, 1)) if thin else geometry, height, width, shape[0])
        grad = pack.contiguous(grad)
        out = grad.new_empty(grad.shape[0], geometry.channels, height, width)
        product(values, index, shape, prepared, grad.shape[0], (0, pack.address(grad), 0, pack.address(out)))
        if not thin:
            return out
        whole = grad.new_zeros(grad.shape[0], geometry.channels, *size)
        whole[:, :, ::down, ::along] = out
        return whole

    return call


def conv_grad_values(product: _Product) -> Callable[..., Tensor]:
    """``f(grad, x, values, index, shape, geometry) -> gradient of values``, 0 past the used part."""

    def call(
        grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int],
        geometry: Geometry,
    ) -> Tensor:  # fmt: skip
        x, geometry = _thinned(x, geometry)
        x = pack.contiguous(x)
        grad, prepared = pack.contiguous(grad), _prepared(geometry, x.shape[2], x.shape[3], shape[0])
        out = values.new_empty(values.shape)
        at = pack.address(x), pack.address(grad), 0, pack.address(out)
        product(values, index, shape, prepared, x.shape[0], at)
        return out

    return call


def _thin(geometry: Geometry) -> bool:
    """Whether most pixels are never read."""
    return geometry.kernel == (1, 1) and geometry.stride != (1, 1) and not any(geometry.padding)


def _thinned(x: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """The pixels that are read, and a geometry that reads them all."""
    if not _thin(geometry):
        return x, geometry
    return x[:, :, :: geometry.stride[0], :: geometry.stride[1]], replace(geometry, stride=(1, 1))


_MAKERS: dict[str, Callable[[_Product], Callable[..., Any]]] = {
    "conv": conv,
    "conv_grad_input": conv_grad_input,
    "conv_grad_values": conv_grad_values,
}


def bind(spec: KernelSpec) -> Callable[..., Any]:
    """The callable of one row of the kernel table.

    Raises:
        KernelUnavailable: the instruction set is not compiled in or does not run here.
    """
    if spec.isa not in library.available_isas():
        raise KernelUnavailable("kernels.cpu", expected=f"one of {library.available_isas()}", got=spec.isa)
    return _MAKERS[spec.op](_Product(spec))
