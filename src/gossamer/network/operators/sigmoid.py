"""The logistic function."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.operators.base import Inputs, Operator, Tensors, operator, plain, unset


def logistic(x: Any) -> Any:
    """``1 / (1 + exp(-x))``; where the exponential overflows the result is 0, as it should be.

    Example:
        >>> logistic(np.array([0.0])).tolist()
        [0.5]
    """
    return 1 / (1 + np.exp(-x))


def _arrays(xs: Inputs, _settings: Any, _held: Tensors) -> Any:
    return logistic(xs[0])


operator(
    Operator(
        "sigmoid",
        lambda torch, xs, _s, _t: torch.sigmoid(xs[0]),
        _arrays,
        ulps=4,
        modules={"torch.nn.Sigmoid": unset},
        calls=dict.fromkeys(("torch.sigmoid", "torch.nn.functional.sigmoid", ".sigmoid"), plain),
        elementwise=True,
    )
)
