"""SiLU, also called swish: a number times its logistic function."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "silu",
        lambda torch, xs, _s, _t: torch.nn.functional.silu(xs[0]),
        ulps=4,
        modules={"torch.nn.SiLU": unset},
        calls={"torch.nn.functional.silu": plain},
        elementwise=True,
        activations={"silu": lambda _: Settings()},
        onnx=lambda words, xs, _s, _t: words.emit("Mul", xs[0], words.emit("Sigmoid", xs[0])),
    )
)
