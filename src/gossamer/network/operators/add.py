"""The sum of two values, number by number."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Inputs, Operator, Settings, Tensors, operator
from gossamer.network.operators.together import one_time, promoted, repeated


def _arrays(xs: Inputs, _settings: Settings, _held: Tensors) -> Any:
    dtype = promoted(tuple(x.dtype.name for x in xs))
    return xs[0].astype(dtype, copy=False) + xs[1].astype(dtype, copy=False)


operator(
    Operator(
        "add",
        lambda _torch, xs, _s, _t: xs[0] + xs[1],
        _arrays,
        calls=dict.fromkeys(("operator.add", "operator.iadd", "torch.add", ".add", ".add_"), Settings),
        shape=repeated,
        dtype=promoted,
        channels=lambda _settings: "together",
        lower=lambda lowering, xs, _s, _t: lowering.number_by_number(*xs),
        arity=2,
        times=one_time,
        onnx=lambda words, xs, _s, _t: words.emit("Add", *words.alike(xs)),
    )
)
