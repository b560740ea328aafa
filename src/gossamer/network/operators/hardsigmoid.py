"""Hard sigmoid: a line between zero and one."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, Tensors, operator, plain, unset
from gossamer.network.spelling import Spelling


def hard(words: Spelling, xs: tuple[str, ...], _settings: Settings, _held: Tensors) -> str:
    """In ONNX, as torch computes it: the attribute 1/6 of ONNX's own would be rounded."""
    moved = words.emit("Add", xs[0], words.number(3.0))
    kept = words.emit("Clip", moved, words.number(0.0), words.number(6.0))
    return words.emit("Div", kept, words.number(6.0))


operator(
    Operator(
        "hardsigmoid",
        lambda torch, xs, _s, _t: torch.nn.functional.hardsigmoid(xs[0]),
        modules={"torch.nn.Hardsigmoid": unset},
        calls={"torch.nn.functional.hardsigmoid": plain},
        elementwise=True,
        activations={"hardsigmoid": lambda _: Settings()},
        onnx=hard,
    )
)
