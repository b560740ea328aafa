"""ReLU6: a number between zero and six."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "relu6",
        lambda torch, xs, _s, _t: torch.nn.functional.relu6(xs[0]),
        lambda xs, _s, _t: np.where(xs[0] < 0, 0, np.where(xs[0] > 6, 6, xs[0])),
        modules={"torch.nn.ReLU6": unset},
        calls={"torch.nn.functional.relu6": plain},
        elementwise=True,
    )
)
