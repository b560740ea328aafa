"""GELU, by the error function or by a hyperbolic tangent."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from gossamer.network.operators.base import Inputs, Operator, Read, Settings, Tensors, operator


class Approximate(Settings):
    """Which GELU."""

    approximate: Literal["none", "tanh"] = "none"


_erf = np.vectorize(math.erf, otypes=[np.float64])  # NumPy has none; about 0.1 us a number


def _arrays(xs: Inputs, settings: Approximate, _held: Tensors) -> Any:
    (x,) = xs
    if settings.approximate == "none":
        return x * (0.5 + 0.5 * _erf(x * math.sqrt(0.5))).astype(x.dtype)
    bounded = np.clip(x, -100, 100)  # beyond, the tangent is 1, and a cube would overflow
    inner = math.sqrt(2 / math.pi) * (bounded + 0.044715 * bounded**3)
    return x * (0.5 + 0.5 * np.tanh(inner))


def _module(module: Any) -> Read:
    return Approximate.model_validate({"approximate": module.approximate}), {}


operator(
    Operator(
        "gelu",
        lambda torch, xs, s, _t: torch.nn.functional.gelu(xs[0], approximate=s.approximate),
        _arrays,
        ulps=4,
        settings=Approximate,
        modules={"torch.nn.GELU": _module},
        calls={"torch.nn.functional.gelu": Approximate},
        elementwise=True,
    )
)
