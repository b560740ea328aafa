"""GELU, by the error function or by a hyperbolic tangent."""

from __future__ import annotations

from typing import Any, Literal

from gossamer.network.operators.base import Operator, Read, Settings, operator


class Approximate(Settings):
    """Which GELU."""

    approximate: Literal["none", "tanh"] = "none"


def _module(module: Any) -> Read:
    return Approximate.model_validate({"approximate": module.approximate}), {}


operator(
    Operator(
        "gelu",
        lambda torch, xs, s, _t: torch.nn.functional.gelu(xs[0], approximate=s.approximate),
        ulps=4,
        settings=Approximate,
        modules={"torch.nn.GELU": _module},
        calls={"torch.nn.functional.gelu": Approximate},
        elementwise=True,
        activations={
            "gelu": lambda _: Approximate(),
            "gelu_tanh": lambda _: Approximate(approximate="tanh"),
        },
        onnx=lambda words, xs, s, _t: words.emit("Gelu", xs[0], approximate=s.approximate),
    )
)
