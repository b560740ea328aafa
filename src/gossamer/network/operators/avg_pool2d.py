"""The mean of each window."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import Inputs, Operator, Read, Tensors, Unsupported, operator
from gossamer.network.operators.spatial import Pool, bordered, pair, pooled, slid, sliding
from gossamer.network.spelling import Spelling


class AvgPool(Pool):
    """And may count the border."""

    count_include_pad: bool = True


def _tensors(torch: Any, xs: Inputs, s: AvgPool, _held: Tensors) -> Any:
    pool = torch.nn.functional.avg_pool2d
    return pool(xs[0], s.kernel, s.stride, s.padding, s.ceil_mode, s.count_include_pad)


def _arrays(xs: Inputs, s: AvgPool, _held: Tensors) -> Any:
    (x,) = xs
    sums = slid(x, s, 0, np.add)
    rows, columns = (_counts(x.shape[2 + at], sums.shape[2 + at], s, at) for at in (0, 1))
    return sums / (rows[:, None] * columns).astype(x.dtype)


def _counts(size: int, wanted: int, s: AvgPool, at: int) -> Any:
    """[wanted]: how many places of each window count along one side."""
    first = np.arange(wanted) * s.stride[at] - s.padding[at]
    border = s.padding[at] if s.count_include_pad else 0
    return np.minimum(first + s.kernel[at], size + border) - np.maximum(first, -border)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: AvgPool, _held: Tensors) -> Image:
    return lowering.window(xs[0], "mean pool", *sliding(xs[0], s, counted=s.count_include_pad))


def _call(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> AvgPool:
    if divisor_override is not None:
        raise Unsupported("a divisor of its own")
    return AvgPool(
        kernel=pair(kernel_size),
        stride=pair(kernel_size if stride is None else stride),
        padding=pair(padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def _module(m: Any) -> Read:
    around = (m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)
    return _call(*around), {}


def _onnx(words: Spelling, xs: tuple[str, ...], s: AvgPool, _held: Tensors) -> str:
    """Where a window reaches beyond the border that counts, its mean is of fewer numbers than its pixels."""
    x, pads = bordered(words, xs[0], s, 0.0)
    counted = int(s.count_include_pad)
    means = words.emit(
        "AveragePool", x, kernel_shape=s.kernel, strides=s.stride, pads=pads, count_include_pad=counted
    )
    high, wide = (_counts(words.shapes[0][2 + at], words.shape[2 + at], s, at) for at in (0, 1))
    share = s.kernel[0] * s.kernel[1] / (high[:, None] * wide)
    if not counted or (share == 1).all():
        return means
    return words.emit("Mul", means, words.constant(share.astype(words.type)))


operator(
    Operator(
        "avg_pool2d",
        _tensors,
        _arrays,
        ulps=8,
        settings=AvgPool,
        modules={"torch.nn.AvgPool2d": _module},
        calls={"torch.nn.functional.avg_pool2d": _call},
        shape=pooled,
        channels=lambda s: "zero" if any(s.padding) and s.count_include_pad else "kept",
        lower=_lower,
        onnx=_onnx,
    )
)
