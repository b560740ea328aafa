"""A convolution as the product of its matrix with what every tap reads, on tensors and on arrays alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from gossamer.layouts import Encoded, layout
from gossamer.network.image_steps import whole

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry
    from gossamer.network.chain_step import Operands, Step


class Images(NamedTuple):
    """What tensors and arrays do differently.

    Args:
        pad: (x, padding, mode) -> x with a border around its last two dimensions.
        stack: list -> one, along a new first dimension.
        contiguous: x -> the same numbers, side by side.
        check: (x, geometry, dtype) - refuses what a convolution cannot take.
        traced: (operands, geometry) -> it out of operators that tracers see, in the bits of a plan; or None.
        in_steps: x -> (float64 and whole, float32 [n]): every image rounded to int8, see ``image_steps``.
        finished: (whole sums [n, out, height', width'], steps [n], residual, operands) -> what becomes of them.
    """

    pad: Callable[[Any, tuple[int, ...], str], Any]
    stack: Callable[[list[Any]], Any]
    contiguous: Callable[[Any], Any]
    check: Callable[[Any, Geometry, str], None]
    traced: Callable[[Operands, Geometry], Step | None]
    in_steps: Callable[[Any], tuple[Any, Any]]
    finished: Callable[[Any, Any, Any, Operands], Any]


def taps(x: Any, geometry: Geometry, images: Images) -> Any:
    """[kh * kw, channels, n, height', width']: what each tap reads of x [n, channels, height, width] for each output.

    Example:
        >>> import numpy as np
        >>> from gossamer.layouts.geometry import Geometry
        >>> from gossamer.network.array_steps import IMAGES
        >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
        >>> taps(x, Geometry(1, (1, 2)), IMAGES).reshape(2, -1).tolist()
        [[0.0, 1.0, 3.0, 4.0, 6.0, 7.0], [1.0, 2.0, 4.0, 5.0, 7.0, 8.0]]
    """
    if any(geometry.padding):
        x = images.pad(x, geometry.padding, geometry.mode)
    x = x.swapaxes(0, 1)
    return images.stack(
        [x[:, :, _along(x.shape[2], geometry, 0, ky), _along(x.shape[3], geometry, 1, kx)]
         for ky in range(geometry.kernel[0]) for kx in range(geometry.kernel[1])]
    )  # fmt: skip


def _along(size: Any, geometry: Geometry, side: int, tap: int) -> slice:
    """What a tap reads along one side of the padded plane."""
    begin, step = tap * geometry.dilation[side], geometry.stride[side]
    last = size - geometry.dilation[side] * (geometry.kernel[side] - 1) - 1
    return slice(begin, begin + last // step * step + 1, step)


class ConvStep:
    """One convolution through the product of the core; what it is called with, a tensor or an array, comes back.

    Args:
        operands: Operands - its form as a matrix.
        geometry: Geometry.
        chain: list of Operands -> Step: the product.
        images: Images.

    Cost: a copy of the input for each tap.
    """

    def __init__(
        self, operands: Operands, geometry: Geometry, chain: Callable[..., Any], images: Images
    ) -> None:
        self.geometry, self.images, self.dtype = geometry, images, operands.form.dtype
        self.rounds = operands if layout(operands.form.layout).compute == "int8" else None
        product = operands if self.rounds is None else whole(operands)
        self.chain = chain([product._replace(form=_ungrouped(product.form, geometry))])
        self.traced = images.traced(operands, geometry)

    def __call__(self, x: Any, residual: Any = None) -> Any:
        """[n, channels, height, width], and for a residual that of the output, to [n, out, height', width']."""
        return self._run(self.chain, x, residual)

    def recorded(self, x: Any, residual: Any = None) -> Any:
        """The same out of operators that tracers see."""
        if self.traced is None:
            return self._run(self.chain.recorded, x, residual)
        self.images.check(x, self.geometry, self.dtype)
        return self.traced(x, residual)

    def _run(self, product: Step, x: Any, residual: Any) -> Any:
        self.images.check(x, self.geometry, self.dtype)
        if self.rounds is None:
            return self._multiplied(product, x, residual)
        steps, size = self.images.in_steps(x)
        return self.images.finished(self._multiplied(product, steps, None), size, residual, self.rounds)

    def _multiplied(self, product: Step, x: Any, residual: Any) -> Any:
        read = taps(x, self.geometry, self.images)
        _, channels, *sizes = read.shape
        positions = prod(sizes)
        flat = read.reshape(read.shape[0] * channels, positions).T
        added = None
        if residual is not None:
            added = residual.swapaxes(0, 1).reshape(residual.shape[1], positions).T
        y = product(flat, added).T
        return self.images.contiguous(y.reshape(y.shape[0], *sizes).swapaxes(0, 1))


def unfit(form: Encoded, geometry: Geometry | None) -> str:
    """Why a form cannot run a layer of this geometry, or "".

    Example:
        >>> from gossamer.layouts.geometry import Geometry
        >>> form = Encoded("fanin", (6, 9), {"group": 2}, None, {})
        >>> unfit(form, Geometry(2, (3, 3), groups=2)), unfit(form, Geometry(1, (3, 3)))
        ('2 neurons share their inputs, of 3 that read the same channels', '')
    """
    kind = layout(form.layout)
    if geometry is None:
        return ""
    if not kind.convolves:
        return "it runs no convolutions"
    shared, rows = kind.unit(form.parameters)[0], form.shape[0] // geometry.groups
    return (
        f"{shared} neurons share their inputs, of {rows} that read the same channels" if rows % shared else ""
    )


def _ungrouped(form: Encoded, geometry: Geometry) -> Encoded:
    """The matrix over all channels: each group of neurons reads its own."""
    if geometry.groups == 1:
        return form
    connections = layout(form.layout).decode(form)
    tap, channel = divmod(connections.cols, geometry.channels // geometry.groups)
    group = connections.rows // (form.shape[0] // geometry.groups)
    n_in = geometry.columns * geometry.groups
    column = tap * geometry.channels + group * (geometry.channels // geometry.groups) + channel
    whole = replace(
        connections, shape=(form.shape[0], n_in), positions=connections.rows * n_in + column, trained=None
    )
    return layout("csr").encode(whole, {})
