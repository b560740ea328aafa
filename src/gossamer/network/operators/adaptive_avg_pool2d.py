"""Means over windows that give an output of one size, whatever the input's."""

from __future__ import annotations

from typing import Any

from gossamer.network.operators.base import Operator, Settings, Shape, operator
from gossamer.network.operators.spatial import Pair, images, pair


class Output(Settings):
    """A fixed output size."""

    size: Pair


def _shape(shapes: tuple[Shape, ...], settings: Output) -> Shape:
    return (*images(shapes)[:2], *settings.size)


def _call(output_size: Any) -> Output:
    return Output(size=pair(output_size))


operator(
    Operator(
        "adaptive_avg_pool2d",
        lambda torch, xs, s, _t: torch.nn.functional.adaptive_avg_pool2d(xs[0], s.size),
        settings=Output,
        modules={"torch.nn.AdaptiveAvgPool2d": lambda m: (_call(m.output_size), {})},
        calls={"torch.nn.functional.adaptive_avg_pool2d": _call},
        shape=_shape,
    )
)
