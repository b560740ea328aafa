"""The hyperbolic tangent."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "tanh",
        lambda torch, xs, _s, _t: torch.tanh(xs[0]),
        lambda xs, _s, _t: np.tanh(xs[0]),
        ulps=2,
        modules={"torch.nn.Tanh": unset},
        calls=dict.fromkeys(("torch.tanh", "torch.nn.functional.tanh", ".tanh"), plain),
        elementwise=True,
    )
)
