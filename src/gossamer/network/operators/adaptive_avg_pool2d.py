"""Means over windows that give an output of one size, whatever the input's."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import even_windows
from gossamer.network.operators.base import Inputs, Operator, Settings, Shape, Tensors, Unsupported, operator
from gossamer.network.operators.spatial import Pair, images, pair
from gossamer.network.spelling import Spelling


class Output(Settings):
    """A fixed output size."""

    size: Pair


def _shape(shapes: tuple[Shape, ...], settings: Output) -> Shape:
    return (*images(shapes)[:2], *settings.size)


def _arrays(xs: Inputs, s: Output, _held: Tensors) -> Any:
    """Sums along columns, then along rows, then the means."""
    (y,) = xs
    for axis, wanted in ((3, s.size[1]), (2, s.size[0])):
        size = y.shape[axis]
        along = np.moveaxis(y, axis, -1)
        windows = [(at * size // wanted, -(-(at + 1) * size // wanted)) for at in range(wanted)]
        means = [along[..., first:last].sum(-1) / y.dtype.type(last - first) for first, last in windows]
        y = np.moveaxis(np.stack(means, -1), -1, axis)
    return y


def _call(output_size: Any) -> Output:
    size = pair(output_size)
    if None in size:
        raise Unsupported("a size that is that of the input")
    return Output(size=size)


def _onnx(words: Spelling, xs: tuple[str, ...], s: Output, _held: Tensors) -> str:
    """Windows of one size are a pool; others are products with the share that each pixel has in each mean."""
    height, width = words.shapes[0][2:]
    rows, cols = s.size
    if s.size == (1, 1):
        return words.emit("GlobalAveragePool", xs[0])
    if height % rows == 0 and width % cols == 0:
        window = [height // rows, width // cols]
        return words.emit("AveragePool", xs[0], kernel_shape=window, strides=window)
    down, along = _shares(height, rows), _shares(width, cols).T
    means = words.emit("MatMul", words.constant(down.astype(words.type)), xs[0])
    return words.emit("MatMul", means, words.constant(along.astype(words.type)))


def _shares(size: int, wanted: int) -> Any:
    """[wanted, size]: what every pixel counts in every mean along one side."""
    windows, pixels = even_windows(size, wanted)[:, None], np.arange(size)
    inside = (pixels >= windows["begin"]) & (pixels < windows["end"])
    return inside / inside.sum(1, keepdims=True)


operator(
    Operator(
        "adaptive_avg_pool2d",
        lambda torch, xs, s, _t: torch.nn.functional.adaptive_avg_pool2d(xs[0], s.size),
        _arrays,
        ulps=8,
        settings=Output,
        modules={"torch.nn.AdaptiveAvgPool2d": lambda m: (_call(m.output_size), {})},
        calls={"torch.nn.functional.adaptive_avg_pool2d": _call},
        shape=_shape,
        channels=lambda _settings: "kept",
        lower=lambda lowering, xs, s, _t: lowering.window(
            xs[0], "mean pool", even_windows(xs[0].height, s.size[0]), even_windows(xs[0].width, s.size[1])
        ),
        onnx=_onnx,
    )
)
