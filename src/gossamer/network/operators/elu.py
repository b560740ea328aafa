"""ELU: an exponential that bends towards a limit for negative numbers."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Number, Operator, Read, Settings, operator


class Alpha(Settings):
    """An ELU's limit for negative numbers."""

    alpha: Number = 1.0


def _module(module: Any) -> Read:
    return Alpha(alpha=float(module.alpha)), {}


def _call(alpha: float = 1.0, inplace: bool = False) -> Alpha:  # noqa: ARG001 (never in place)
    return Alpha(alpha=float(alpha))


operator(
    Operator(
        "elu",
        lambda torch, xs, s, _t: torch.nn.functional.elu(xs[0], s.alpha),
        ulps=4,
        settings=Alpha,
        modules={"torch.nn.ELU": _module},
        calls={"torch.nn.functional.elu": _call},
        elementwise=True,
        activations={"elu": lambda slope: Alpha(alpha=slope)},
        slope="alpha",
    )
)
