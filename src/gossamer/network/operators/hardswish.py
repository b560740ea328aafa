"""Hard swish: a number times its hard sigmoid."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset
from gossamer.network.operators.hardsigmoid import hard

operator(
    Operator(
        "hardswish",
        lambda torch, xs, _s, _t: torch.nn.functional.hardswish(xs[0]),
        modules={"torch.nn.Hardswish": unset},
        calls={"torch.nn.functional.hardswish": plain},
        elementwise=True,
        activations={"hardswish": lambda _: Settings()},
        onnx=lambda words, xs, s, t: words.emit("Mul", xs[0], hard(words, xs, s, t)),
    )
)
