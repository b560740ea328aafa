"""Batch normalisation in evaluation: a scale and a shift for each feature."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gossamer.network.lowering import Image, Lowering
from gossamer.network.operators.base import (
    Inputs,
    Operator,
    Read,
    Settings,
    Shape,
    Size,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.spelling import Spelling


class Normalisation(Settings):
    """Number of features, the small number under the root, and whether scale and shift follow."""

    features: Size
    eps: Annotated[float, Field(ge=0.0, le=1e6)]
    affine: bool


def _shapes(s: Normalisation) -> dict[str, Shape]:
    names = ("mean", "variance", *(("weight", "bias") if s.affine else ()))
    return dict.fromkeys(names, (s.features,))


def _shape(shapes: tuple[Shape, ...], settings: Normalisation) -> Shape:
    (shape,) = shapes
    if len(shape) < 2 or shape[1] != settings.features:
        raise ValueError(f"{list(shape)} for [batch, {settings.features}, ...]")
    return shape


def _tensors(torch: Any, xs: Inputs, s: Normalisation, tensors: Tensors) -> Any:
    scale, shift = tensors.get("weight"), tensors.get("bias")
    normalise = torch.nn.functional.batch_norm
    x = xs[0].contiguous()  # for others torch has another order of multiplying and adding
    return normalise(x, tensors["mean"], tensors["variance"], scale, shift, training=False, eps=s.eps)


def _arrays(xs: Inputs, settings: Normalisation, tensors: Tensors) -> Any:
    (x,) = xs
    scale, shift = _folded(settings, tensors, x.dtype)
    sizes = (1, -1, *(1 for _ in x.shape[2:]))
    return fused(x, scale.reshape(sizes), shift.reshape(sizes))


def _folded(settings: Normalisation, tensors: Tensors, dtype: Any) -> tuple[Any, Any]:
    """[features] each: what is multiplied with, and then added."""
    scale = 1 / np.sqrt(tensors["variance"] + dtype.type(settings.eps))
    scale = scale * tensors["weight"] if settings.affine else scale
    return scale, fused(-tensors["mean"], scale, tensors["bias"] if settings.affine else np.zeros_like(scale))


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Normalisation, held: Tensors) -> Image:
    arrays = {name: np.asarray(tensor, np.float32) for name, tensor in held.items()}
    scale, shift = _folded(s, arrays, np.dtype(np.float32))
    return lowering.number_by_number(xs[0], scale=scale, shift=shift)


def fused(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` rounded once in float32, as processors multiply and add; in other types rounded twice.

    A product of float32 is exact in float64, and their sum is rounded to odd: rounded again, to float32, that is as
    if the sum had been exact.

    Example:
        >>> a, b, c = (np.array([number], np.float32) for number in (1 + 2**-12, 1 + 2**-12, -1.0))
        >>> float(fused(a, b, c)[0]) == 2**-11 + 2**-24, float((a * b + c)[0]) == 2**-11 + 2**-24
        (True, False)
    """
    if a.dtype != np.float32:
        return a * b + c
    product, more = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + more
    back = total - product
    lost = (product - (total - back)) + (more - back)
    even = total.view(np.int64) & 1 == 0
    aside = np.nextafter(total, np.copysign(np.inf, lost))
    inexact = np.isfinite(total) & (lost != 0) & even
    return np.where(inexact, aside, total).astype(np.float32)


def _module(module: Any) -> Read:
    if module.running_mean is None or module.running_var is None:
        raise Unsupported("normalised by the batch itself")
    tensors = {"mean": module.running_mean, "variance": module.running_var}
    scale, shift = module.weight, module.bias  # torch asks for them, not for module.affine; one may be None
    affine = not (scale is None and shift is None)
    if affine:
        scale = shift.new_ones(shift.shape) if scale is None else scale
        tensors |= {"weight": scale, "bias": scale.new_zeros(scale.shape) if shift is None else shift}
    settings = Normalisation(features=module.num_features, eps=float(module.eps), affine=affine)
    return settings, tensors


def _onnx(words: Spelling, xs: tuple[str, ...], s: Normalisation, held: Tensors) -> str:
    arrays = {name: words.tensor(tensor) for name, tensor in held.items()}
    ones, zeros = np.ones(s.features, words.type), np.zeros(s.features, words.type)
    variance = arrays["variance"] + ones.dtype.type(s.eps)  # the attribute would round it
    order = (arrays.get("weight", ones), arrays.get("bias", zeros), arrays["mean"], variance)
    return words.emit("BatchNormalization", xs[0], *map(words.constant, order), epsilon=0.0)


operator(
    Operator(
        "batch_norm",
        _tensors,
        _arrays,
        ulps=8,
        exact=("float32",),
        settings=Normalisation,
        modules={"torch.nn.BatchNorm1d": _module, "torch.nn.BatchNorm2d": _module},
        shapes=_shapes,
        shape=_shape,
        times=lambda _shapes, _s, times: times[0] if times[0] != 1 else None,  # where its features are
        channels=lambda _settings: "computed",
        resized=lambda settings, channels: settings.model_copy(update={"features": channels}),
        lower=_lower,
        onnx=_onnx,
    )
)
