"""The steps of a network on arrays: linear layers and activations in the core, all else by NumPy."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gossamer.kernels.cpu import numbers
from gossamer.network.chain_step import ChainStep, Operands, Step, within
from gossamer.network.conv_step import Images, taps
from gossamer.network.image_steps import in_steps
from gossamer.network.operators import operators
from gossamer.network.program import Kind

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry
    from gossamer.network.graph import Call


class ArrayStep(ChainStep):
    """Layers in one call into the core, on arrays; shapes and types are known to fit before a program runs.

    Example:
        >>> from gossamer.layouts import layout
        >>> from gossamer.layouts.connections import Connections
        >>> encoded = layout("csr").encode(Connections((1, 2), np.array([1]), np.ones(1, np.float32)), {})
        >>> ArrayStep([Operands(encoded, None, "relu")])(np.array([[5.0, -7.0]], np.float32)).tolist()
        [[0.0]]
    """

    def check(self, x: Any, n_in: int, *, flat: bool = False) -> None:
        """Nothing is left to check."""

    def activated(self, y: Any) -> Any:
        """As the layer says."""
        return activated(y, self.last)

    def contiguous(self, y: Any) -> Any:
        """A copy where rows are not side by side."""
        return np.ascontiguousarray(y)


MODES: Final[dict[str, Any]] = {
    "zeros": "constant",
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
}


def _padded(x: Any, padding: tuple[int, ...], mode: str) -> Any:
    left, right, top, bottom = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), MODES[mode])


def _finished(sums: Any, size: Any, residual: Any, operands: Operands) -> Any:
    scale, bias = operands.form.scale, operands.bias
    y = sums.astype(np.float32) * size[:, None, None, None]
    y = y if scale is None else y * scale[:, None, None]
    y = y if bias is None else y + bias[:, None, None]
    return activated(y if residual is None else y + residual, operands)


IMAGES: Final = Images(
    _padded,
    np.stack,
    np.ascontiguousarray,
    lambda _x, _geometry, _dtype: None,
    lambda *_: None,
    in_steps,
    _finished,
)


def array_slice(operands: Operands, *, flat: bool = False) -> Step:
    """A dense slice: the inputs in use are gathered, multiplied by the core, and put among the other neurons.

    Args:
        operands: Operands - its form in layout "slice".
        flat: bool - takes x [batch, n_in] only, which is known before a program runs.

    Returns:
        [..., in] -> [..., out]; a second argument is added before the activation.
    """
    del flat
    form, bias, inner = operands.form, operands.bias, ArrayStep([within(operands)], rows=True)
    base = np.zeros(form.shape[0], form.dtype) if bias is None else bias
    rows, cols = (form.index[name] for name in ("rows", "cols"))

    def run(x: Any, residual: Any = None) -> Any:
        whole = np.zeros((*x.shape[:-1], base.size), base.dtype) + base
        whole[..., rows] = inner(x[..., cols])
        return activated(whole if residual is None else whole + residual, operands)

    return run


def array_convolution(operands: Operands, geometry: Geometry) -> Step:
    """A dense convolution through NumPy, whose sums have another order than torch's."""
    groups, form, bias = geometry.groups, operands.form.wide, operands.bias
    weight = form.values.reshape(groups, form.shape[0] // groups, form.shape[1])

    def run(x: Any, residual: Any = None) -> Any:
        read = taps(x, geometry, IMAGES)
        parts = read.reshape(len(read), groups, geometry.channels // groups, prod(read.shape[2:]))
        y = weight @ parts.swapaxes(0, 1).reshape(groups, form.shape[1], parts.shape[3])
        y = y.reshape(form.shape[0], *read.shape[2:]).swapaxes(0, 1)
        y = y if bias is None else y + bias[:, None, None]
        return activated(y if residual is None else y + residual, operands)

    return run


def activated(y: Any, operands: Operands) -> Any:
    """What follows the sums of a linear layer."""
    return y if operands.activation is None else numbers.activate(y, operands.activation, operands.slope)


def array_call(body: Call, _name: str) -> Step:
    """An operator through the core or NumPy; raises KernelUnavailable where only torch computes it."""
    return operators[body.op].on_arrays(body.settings, body.tensors)


ARRAYS: Final = Kind(
    ArrayStep, array_slice, array_convolution, array_call, IMAGES, lambda x, shape: np.empty(shape, x.dtype)
)
