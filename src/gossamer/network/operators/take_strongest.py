"""The phase of an image, pixels that lie a stride apart, that is the strongest one of another image or of itself."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from gossamer.layouts.phases import first_pixel
from gossamer.network.operators.base import Inputs, Operator, Settings, Shape, Tensors, operator
from gossamer.network.operators.spatial import Pair, images
from gossamer.network.spelling import Spelling


class Phases(Settings):
    """The stride, and by which norm the second input's phases are judged."""

    stride: Pair
    norm: Literal["l1", "l2", "linf"]


def _shape(shapes: tuple[Shape, ...], s: Phases) -> Shape:
    """Both sides divided by the stride.

    Example:
        >>> _shape(((0, 3, 8, 6), (0, 5, 8, 6)), Phases(stride=(4, 2), norm="l2"))
        (0, 3, 2, 3)
    """
    (batch, channels, height, width), judged = images(shapes[:1]), images(shapes[1:])
    if (batch, height, width) != (judged[0], *judged[2:]) or height % s.stride[0] or width % s.stride[1]:
        raise ValueError(f"{list(shapes[0])} and {list(shapes[1])} at stride {list(s.stride)}")
    return batch, channels, height // s.stride[0], width // s.stride[1]


def _tensors(_torch: Any, xs: Inputs, s: Phases, _held: Tensors) -> Any:
    from gossamer.kernels.reference.polyphase import strongest, taken

    return taken(xs[0], strongest(xs[1], s.stride, s.norm), s.stride)


def _split(x: Any, s: Phases) -> Any:
    """[batch, down, along, channels, height', width']."""
    (down, along), (batch, channels, height, width) = s.stride, x.shape
    parts = x.reshape(batch, channels, height // down, down, width // along, along)
    return parts.transpose(0, 3, 5, 1, 2, 4)


def _arrays(xs: Inputs, s: Phases, _held: Tensors) -> Any:
    x, judged = xs
    parts = np.abs(_split(judged, s).astype(np.float64))
    if s.norm == "linf":
        norms = parts.max(axis=(3, 4, 5))
    else:
        norms = (parts if s.norm == "l1" else parts * parts).sum(axis=(3, 4, 5))
    row, column = first_pixel(norms.reshape(len(x), s.stride[0] * s.stride[1]).argmax(1), s.stride)
    return _split(x, s)[np.arange(len(x)), row, column]


def _onnx(words: Spelling, xs: tuple[str, ...], s: Phases, _held: Tensors) -> str:
    (down, along), count = s.stride, s.stride[0] * s.stride[1]

    def split(x: str, shape: Shape) -> tuple[str, int]:
        """[batch, phases, numbers of each], and how many."""
        _, channels, height, width = shape
        sizes = (0, channels, height // down, down, width // along, along)
        apart = words.emit("Reshape", x, words.constant(sizes))
        apart = words.emit("Transpose", apart, perm=(0, 3, 5, 1, 2, 4))
        numbers = channels * height * width // count
        return words.emit("Reshape", apart, words.constant((0, count, numbers))), numbers

    judged = words.emit("Cast", split(xs[1], words.shapes[1])[0], to=np.dtype(np.float64))
    if s.norm == "linf":
        norms = words.emit("ReduceMax", words.emit("Abs", judged), words.constant((2,)), keepdims=0)
    else:
        norms = words.emit(
            "ReduceL1" if s.norm == "l1" else "ReduceL2", judged, words.constant((2,)), keepdims=0
        )
    strongest = words.emit("ArgMax", norms, axis=1, keepdims=1)
    return words.reshaped(words.emit("GatherND", split(xs[0], words.shapes[0])[0], strongest, batch_dims=1))


def _call(stride: Any, norm: str) -> Phases:
    return Phases(stride=tuple(stride), norm=norm)  # type: ignore[arg-type]  # pydantic says which there are


operator(
    Operator(
        "take_strongest",
        _tensors,
        _arrays,
        ulps=1,  # numbers are those of the input, but sums in another order may tell almost equal phases apart
        settings=Phases,
        calls={"gossamer.ops.take_strongest": _call},
        shape=_shape,
        onnx=_onnx,
        arity=2,
    )
)
