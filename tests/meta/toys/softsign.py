"""Softsign: a number divided by one more than its size. A toy operator."""

from __future__ import annotations

import numpy as np

from gossamer.network.operators.base import Operator, operator, plain, unset

operator(
    Operator(
        "softsign",
        lambda torch, xs, _s, _t: torch.nn.functional.softsign(xs[0]),
        lambda xs, _s, _t: xs[0] / (1 + np.abs(xs[0])),
        modules={"torch.nn.Softsign": unset},
        calls={"torch.nn.functional.softsign": plain},
        elementwise=True,
        onnx=lambda words, xs, _s, _t: words.emit("Softsign", xs[0]),
    )
)
