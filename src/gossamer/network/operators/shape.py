"""Flatten, add, normalisation in evaluation, and what classifiers end with."""

from __future__ import annotations

import operator as python
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.network.operators.base import (
    Axis,
    Operator,
    Read,
    Settings,
    Size,
    Tensors,
    Unsupported,
    operator,
)


class Axes(Settings):
    """From which to which dimension."""

    start_dim: Axis = 1
    end_dim: Axis = -1


class Dim(Settings):
    """One dimension."""

    dim: Axis


class Normalisation(Settings):
    """Number of features, the small number under the root, and whether scale and shift follow."""

    features: Size
    eps: Annotated[float, Field(ge=0.0, le=1e6)]
    affine: bool


def _flatten(start_dim: int = 0, end_dim: int = -1) -> Axes:
    return Axes(start_dim=start_dim, end_dim=end_dim)


operator(
    Operator(
        "flatten",
        lambda xs, s, _t: torch.flatten(xs[0], s.start_dim, s.end_dim),
        Axes,
        {nn.Flatten: lambda m: (Axes(start_dim=m.start_dim, end_dim=m.end_dim), {})},
        {torch.flatten: _flatten, "flatten": _flatten},
    )
)

operator(
    Operator(
        "add",
        lambda xs, _s, _t: xs[0] + xs[1],
        calls=dict.fromkeys((python.add, python.iadd, torch.add, "add", "add_"), Settings),
        arity=2,
    )
)


def _shapes(s: Normalisation) -> dict[str, tuple[int, ...]]:
    names = ("mean", "variance", *(("weight", "bias") if s.affine else ()))
    return dict.fromkeys(names, (s.features,))


def _normalised(xs: tuple[Tensor, ...], s: Normalisation, tensors: Tensors) -> Tensor:
    scale, shift = tensors.get("weight"), tensors.get("bias")
    return F.batch_norm(xs[0], tensors["mean"], tensors["variance"], scale, shift, training=False, eps=s.eps)


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Read:
    if module.running_mean is None or module.running_var is None:
        raise Unsupported("normalised by the batch itself")
    tensors = {"mean": module.running_mean, "variance": module.running_var}
    if module.affine:
        tensors |= {"weight": module.weight, "bias": module.bias}
    settings = Normalisation(features=module.num_features, eps=float(module.eps), affine=module.affine)
    return settings, {name: tensor.detach().clone() for name, tensor in tensors.items()}


operator(
    Operator(
        "batch_norm",
        _normalised,
        Normalisation,
        {nn.BatchNorm1d: _batch_norm, nn.BatchNorm2d: _batch_norm},
        shapes=_shapes,
    )
)


def _softmax(dim: int, dtype: Any = None, **_more: Any) -> Dim:
    if dtype is not None:
        raise Unsupported("a dtype of its own")
    return Dim(dim=dim)


def _classifier(name: str, module: type[nn.Module], compute: Any) -> None:
    """A softmax, or its logarithm."""
    operator(
        Operator(
            name,
            lambda xs, s, _t: compute(xs[0], s.dim),
            Dim,
            {module: lambda m: (Dim(dim=m.dim), {})},
            {compute: _softmax, getattr(F, name): _softmax, name: _softmax},
        )
    )


_classifier("softmax", nn.Softmax, torch.softmax)
_classifier("log_softmax", nn.LogSoftmax, torch.log_softmax)
