"""Hard swish: a number times its hard sigmoid."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "hardswish",
        lambda torch, xs, _s, _t: torch.nn.functional.hardswish(xs[0]),
        lambda xs, _s, _t: xs[0] * np.minimum(np.maximum(xs[0] + 3, 0), 6) / 6,
        modules={"torch.nn.Hardswish": unset},
        calls={"torch.nn.functional.hardswish": plain},
        elementwise=True,
    )
)
