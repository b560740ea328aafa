"""ReLU6: a number between zero and six."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "relu6",
        lambda torch, xs, _s, _t: torch.nn.functional.relu6(xs[0]),
        modules={"torch.nn.ReLU6": unset},
        calls={"torch.nn.functional.relu6": plain},
        elementwise=True,
        activations={"relu6": lambda _: Settings()},
        onnx=lambda words, xs, _s, _t: words.emit("Clip", xs[0], words.number(0.0), words.number(6.0)),
    )
)
