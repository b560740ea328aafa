"""Linear layers and convolutions in the words of ONNX: plain matrices, whatever layout held them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer.layouts import layout
from gossamer.layouts.arrays import Array, cast, nonzero
from gossamer.network.graph import unfused
from gossamer.network.operators import operators
from gossamer.network.spelling import Few, type_of

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry
    from gossamer.network.graph import Layer
    from gossamer.network.spelling import Spelling

PADS: Final = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
PLACE: Final = 8  # bytes in a file that say where a number stands


def layer(words: Spelling, xs: tuple[str, ...], body: Layer, *, few: bool) -> str:
    """The nodes of a layer: product, bias, residual, activation.

    Args:
        words: Spelling - whose turn is the layer's.
        xs: names of the input, and of a residual.
        body: Layer.
        few: bool - weights by their numbers and places, where that is smaller.

    Returns:
        str - the name of the result.

    Cost: O(dense size) of the weight; O(connections) where it is written by its numbers.
    """
    makes = _linear if body.geometry is None else _convolution
    y = makes(words, xs[0], body, few)
    for residual in xs[1:]:
        y = words.emit("Add", y, residual)
    if body.activation is None:
        return y
    call = unfused(body.activation, body.slope)
    spell = operators[call.op].onnx
    if spell is None:
        raise AssertionError("activations of the core are operators with words of ONNX")
    return spell(words, (y,), call.settings, call.tensors)


def weight_bytes(body: Layer, *, few: bool) -> int:
    """Bytes that a weight takes in a file, or a little more; nothing is built."""
    size = np.dtype(type_of(body.stored.dtype)).itemsize
    dense = body.shape[0] * body.shape[1] * size
    return min(dense, body.stored.values.size * (size + PLACE)) if few else dense


def _linear(words: Spelling, x: str, body: Layer, few: bool) -> str:
    """A product of rows, in two dimensions with the bias in the same node."""
    bias = () if body.bias is None else (words.constant(cast(body.bias, words.type)),)
    if len(words.shape) == 2:
        return words.emit(
            "Gemm", x, words.constant(_weight(words, body, body.shape, (0, 1), few)), *bias, transB=1
        )
    y = words.emit("MatMul", x, words.constant(_weight(words, body, body.shape, (1, 0), few)))
    return words.emit("Add", y, *bias) if bias else y


def _convolution(words: Spelling, x: str, body: Layer, few: bool) -> str:
    """A border of zeros is an attribute; another is a node before."""
    geometry = body.geometry
    if geometry is None:
        raise AssertionError("a convolution has a geometry")
    left, right, top, bottom = geometry.padding
    pads = [top, left, bottom, right]
    if geometry.mode != "zeros" and any(pads):
        sides = words.constant((0, 0, top, left, 0, 0, bottom, right))
        x, pads = words.emit("Pad", x, sides, mode=PADS[geometry.mode]), [0] * 4
    taps = (body.shape[0], *geometry.kernel, geometry.channels // geometry.groups)
    weight = words.constant(_weight(words, body, taps, (0, 3, 1, 2), few))
    bias = () if body.bias is None else (words.constant(cast(body.bias, words.type)),)
    return words.emit("Conv", x, weight, *bias, pads=pads, **_attributes(geometry))


def _attributes(geometry: Geometry) -> dict[str, object]:
    return {
        "kernel_shape": geometry.kernel,
        "strides": geometry.stride,
        "dilations": geometry.dilation,
        "group": geometry.groups,
    }


def _weight(
    words: Spelling, body: Layer, shape: tuple[int, ...], order: tuple[int, ...], few: bool
) -> Array | Few:
    """The weight as a tensor of ``shape`` in another order of dimensions; by its numbers where that is smaller."""
    connections = layout(body.stored.layout).decode(body.stored).wide()
    values, positions = cast(connections.values, words.type), connections.positions
    if few:
        held = nonzero(values)
        places = np.unravel_index(positions[held], shape)
        turned = tuple(shape[axis] for axis in order)
        moved = np.ravel_multi_index(tuple(places[axis] for axis in order), turned)
        if moved.size * (values.itemsize + PLACE) < values.itemsize * np.prod(shape, dtype=np.int64):
            sorting = np.argsort(moved)
            return Few(turned, moved[sorting], values[held][sorting])
    flat = np.zeros(body.shape[0] * body.shape[1], values.dtype)
    flat[positions] = values
    return np.ascontiguousarray(flat.reshape(shape).transpose(order))
