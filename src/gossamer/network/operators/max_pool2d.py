"""The largest number of each window."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import Inputs, Operator, Read, Shape, Tensors, Unsupported, operator
from gossamer.network.operators.spatial import Pair, Pool, bordered, pair, pooled, slid, sliding
from gossamer.network.spelling import Spelling


class MaxPool(Pool):
    """And may be dilated."""

    dilation: Pair = (1, 1)


def _tensors(torch: Any, xs: Inputs, s: MaxPool, _held: Tensors) -> Any:
    pool = torch.nn.functional.max_pool2d
    return pool(xs[0], s.kernel, s.stride, s.padding, s.dilation, s.ceil_mode)


def _larger(first: Any, second: Any) -> Any:
    """NaN where one is; of two zeros the first, as in torch."""
    return np.where((second > first) | np.isnan(second), second, first)


def _arrays(xs: Inputs, s: MaxPool, _held: Tensors) -> Any:
    return slid(xs[0], s, -np.inf, _larger, s.dilation)


def _shape(shapes: tuple[Shape, ...], settings: MaxPool) -> Shape:
    return pooled(shapes, settings, settings.dilation)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: MaxPool, _held: Tensors) -> Image:
    high, wide = sliding(xs[0], s, s.dilation)
    return lowering.window(xs[0], "max pool", high, wide, s.dilation)


def _call(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **more: Any,
) -> MaxPool:
    if more.get("return_indices"):
        raise Unsupported("indices as a second output")
    return MaxPool(
        kernel=pair(kernel_size),
        stride=pair(kernel_size if stride is None else stride),
        padding=pair(padding),
        dilation=pair(dilation),
        ceil_mode=ceil_mode,
    )


def _module(m: Any) -> Read:
    around = (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)
    return _call(*around, return_indices=m.return_indices), {}


def _onnx(words: Spelling, xs: tuple[str, ...], s: MaxPool, _held: Tensors) -> str:
    x, pads = bordered(words, xs[0], s, -np.inf, s.dilation)
    return words.emit("MaxPool", x, kernel_shape=s.kernel, strides=s.stride, pads=pads, dilations=s.dilation)


operator(
    Operator(
        "max_pool2d",
        _tensors,
        _arrays,
        settings=MaxPool,
        modules={"torch.nn.MaxPool2d": _module},
        calls={"torch.nn.functional.max_pool2d": _call, "torch.max_pool2d": _call},
        shape=_shape,
        channels=lambda _settings: "kept",
        lower=_lower,
        onnx=_onnx,
    )
)
