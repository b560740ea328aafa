"""Hard sigmoid: a line between zero and one."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "hardsigmoid",
        lambda torch, xs, _s, _t: torch.nn.functional.hardsigmoid(xs[0]),
        lambda xs, _s, _t: np.minimum(np.maximum(xs[0] + 3, 0), 6) / 6,
        modules={"torch.nn.Hardsigmoid": unset},
        calls={"torch.nn.functional.hardsigmoid": plain},
        elementwise=True,
    )
)
