"""The logarithm of softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.operators.base import Inputs, Operator, Tensors, operator
from gossamer.network.operators.softmax import Dim, along, called, held, lowered


def _arrays(xs: Inputs, settings: Dim, _held: Tensors) -> Any:
    low = lowered(xs, settings)
    return low - np.log(np.exp(low).sum(axis=settings.dim, keepdims=True))


operator(
    Operator(
        "log_softmax",
        lambda torch, xs, s, _t: torch.log_softmax(xs[0], s.dim),
        _arrays,
        ulps=8,
        settings=Dim,
        modules={"torch.nn.LogSoftmax": held},
        calls=dict.fromkeys(("torch.log_softmax", "torch.nn.functional.log_softmax", ".log_softmax"), called),
        shape=along,
    )
)
