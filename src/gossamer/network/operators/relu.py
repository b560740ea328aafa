"""ReLU: the larger of a number and zero."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "relu",
        lambda torch, xs, _s, _t: torch.relu(xs[0]),
        lambda xs, _s, _t: np.where(xs[0] < 0, 0, xs[0]),  # -0 stays what it is, as in torch
        modules={"torch.nn.ReLU": unset},
        calls=dict.fromkeys(
            (
                "torch.relu",
                "torch.relu_",
                "torch.nn.functional.relu",
                "torch.nn.functional.relu_",
                ".relu",
                ".relu_",
            ),
            plain,
        ),
        elementwise=True,
    )
)
