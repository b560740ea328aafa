"""ReLU: the larger of a number and zero."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "relu",
        lambda torch, xs, _s, _t: torch.relu(xs[0]),
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
        activations={"relu": lambda _: Settings()},
        onnx=lambda words, xs, _s, _t: words.emit("Relu", *xs),
    )
)
