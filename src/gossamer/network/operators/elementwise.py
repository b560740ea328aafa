"""Activations: they act on every number alike, so a dead neuron's constant stays a constant behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.network.operators.base import Number, Operator, Read, Settings, Unsupported, operator
from gossamer.nn import AllReLU, Dropout

if TYPE_CHECKING:
    from collections.abc import Callable


class Slope(Settings):
    """A leaky ReLU's slope for negative numbers."""

    negative_slope: Number = 0.01


class Alpha(Settings):
    """An ELU's limit for negative numbers."""

    alpha: Number = 1.0


class Approximate(Settings):
    """Which GELU."""

    approximate: Literal["none", "tanh"] = "none"


def _simple(name: str, module: type[nn.Module], compute: Callable[[Tensor], Tensor], *calls: Any) -> None:
    """An activation without settings."""

    def read(inplace: bool = False) -> Settings:  # noqa: ARG001 (a frozen network never writes over its inputs)
        return Settings()

    operator(
        Operator(
            name,
            lambda xs, _s, _t: compute(xs[0]),
            modules={module: lambda _module: (Settings(), {})},
            calls=dict.fromkeys((*calls, name), read),
            elementwise=True,
        )
    )


_simple("relu", nn.ReLU, torch.relu, torch.relu, F.relu, "relu_", F.relu_, torch.relu_)
_simple("relu6", nn.ReLU6, F.relu6, F.relu6)
_simple("tanh", nn.Tanh, torch.tanh, torch.tanh, F.tanh)
_simple("sigmoid", nn.Sigmoid, torch.sigmoid, torch.sigmoid, F.sigmoid)
_simple("silu", nn.SiLU, F.silu, F.silu)


def _leaky(module: nn.LeakyReLU | AllReLU) -> Read:
    return Slope(negative_slope=float(module.negative_slope)), {}


def _leaky_call(negative_slope: float = 0.01, inplace: bool = False) -> Slope:  # noqa: ARG001 (never in place)
    return Slope(negative_slope=float(negative_slope))


operator(
    Operator(
        "leaky_relu",
        lambda xs, s, _t: F.leaky_relu(xs[0], s.negative_slope),
        Slope,
        {nn.LeakyReLU: _leaky, AllReLU: _leaky},
        {F.leaky_relu: _leaky_call},
        elementwise=True,
    )
)


def _elu(module: nn.ELU) -> Read:
    return Alpha(alpha=float(module.alpha)), {}


def _elu_call(alpha: float = 1.0, inplace: bool = False) -> Alpha:  # noqa: ARG001 (never in place)
    return Alpha(alpha=float(alpha))


operator(
    Operator(
        "elu",
        lambda xs, s, _t: F.elu(xs[0], s.alpha),
        Alpha,
        {nn.ELU: _elu},
        {F.elu: _elu_call},
        elementwise=True,
    )
)


def _gelu(module: nn.GELU) -> Read:
    return Approximate.model_validate({"approximate": module.approximate}), {}


operator(
    Operator(
        "gelu",
        lambda xs, s, _t: F.gelu(xs[0], approximate=s.approximate),
        Approximate,
        {nn.GELU: _gelu},
        {F.gelu: Approximate},
        elementwise=True,
    )
)


def _nothing(p: float = 0.5, training: bool = True, inplace: bool = False) -> Settings:  # noqa: ARG001 (as F.dropout)
    """A dropout call that is switched off; one that is on is refused."""
    if training:
        raise Unsupported("dropout that is on in evaluation")
    return Settings()


_OFF = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    Dropout,
)

operator(
    Operator(
        "identity",
        lambda xs, _s, _t: xs[0],
        modules={kind: lambda _module: (Settings(), {}) for kind in _OFF},
        calls={F.dropout: _nothing, F.alpha_dropout: _nothing, "contiguous": Settings, "clone": Settings},
        elementwise=True,
    )
)
