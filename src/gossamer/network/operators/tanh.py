"""The hyperbolic tangent."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "tanh",
        lambda torch, xs, _s, _t: torch.tanh(xs[0]),
        ulps=4,
        modules={"torch.nn.Tanh": unset},
        calls=dict.fromkeys(("torch.tanh", "torch.nn.functional.tanh", ".tanh"), plain),
        elementwise=True,
        activations={"tanh": lambda _: Settings()},
        onnx=lambda words, xs, _s, _t: words.emit("Tanh", *xs),
    )
)
