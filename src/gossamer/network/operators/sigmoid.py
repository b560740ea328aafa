"""The logistic function."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "sigmoid",
        lambda torch, xs, _s, _t: torch.sigmoid(xs[0]),
        ulps=4,
        modules={"torch.nn.Sigmoid": unset},
        calls=dict.fromkeys(("torch.sigmoid", "torch.nn.functional.sigmoid", ".sigmoid"), plain),
        elementwise=True,
        activations={"sigmoid": lambda _: Settings()},
        onnx=lambda words, xs, _s, _t: words.emit("Sigmoid", *xs),
    )
)
