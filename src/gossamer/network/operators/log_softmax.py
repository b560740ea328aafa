"""The logarithm of softmax."""

from __future__ import annotations

from functools import partial

from gossamer.kernels.cpu import numbers
from gossamer.network.operators.base import Operator, operator
from gossamer.network.operators.softmax import Dim, along, beside, called, held

operator(
    Operator(
        "log_softmax",
        lambda torch, xs, s, _t: torch.log_softmax(xs[0], s.dim),
        ulps=8,
        settings=Dim,
        modules={"torch.nn.LogSoftmax": held},
        calls=dict.fromkeys(("torch.log_softmax", "torch.nn.functional.log_softmax", ".log_softmax"), called),
        shape=along,
        times=beside,
        core=lambda s: partial(numbers.softmax, dim=s.dim, logarithm=True),
        onnx=lambda words, xs, s, _t: words.emit("LogSoftmax", *xs, axis=s.dim),
    )
)
