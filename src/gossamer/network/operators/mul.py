"""The product of two values, number by number, as where an image is scaled channel by channel."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Inputs, Operator, Settings, Tensors, operator
from gossamer.network.operators.together import one_time, promoted, repeated


def _arrays(xs: Inputs, _settings: Settings, _held: Tensors) -> Any:
    dtype = promoted(tuple(x.dtype.name for x in xs))
    return xs[0].astype(dtype, copy=False) * xs[1].astype(dtype, copy=False)


operator(
    Operator(
        "mul",
        lambda _torch, xs, _s, _t: xs[0] * xs[1],
        _arrays,
        calls=dict.fromkeys(("operator.mul", "operator.imul", "torch.mul", ".mul", ".mul_"), Settings),
        shape=repeated,
        dtype=promoted,
        channels=lambda _settings: "together",
        arity=2,
        times=one_time,
        onnx=lambda words, xs, _s, _t: words.emit("Mul", *words.alike(xs)),
    )
)
