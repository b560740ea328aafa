"""Values side by side along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import Axis, Inputs, Operator, Settings, Shape, Tensors, operator
from gossamer.network.operators.together import promoted


class Along(Settings):
    """The dimension."""

    dim: Axis = 0


def _shape(shapes: tuple[Shape, ...], settings: Along) -> Shape:
    """All sizes are equal but those along the dimension, which add up.

    Example:
        >>> _shape(((0, 3, 5), (0, 4, 5)), Along(dim=-2))
        (0, 7, 5)
    """
    first, n = shapes[0], len(shapes[0])
    if not -n <= settings.dim < n:
        raise ValueError(f"dimension {settings.dim} of {n}")
    at = settings.dim % n
    if any((*shape[:at], *shape[at + 1 :]) != (*first[:at], *first[at + 1 :]) for shape in shapes):
        raise ValueError(f"{[list(shape) for shape in shapes]} side by side along dimension {settings.dim}")
    return (*first[:at], sum(shape[at] for shape in shapes), *first[at + 1 :])


def _call(dim: int = 0) -> Along:
    return Along(dim=dim)


def _arrays(xs: Inputs, settings: Along, _held: Tensors) -> Any:
    dtype = promoted(tuple(x.dtype.name for x in xs))
    return np.concatenate([x.astype(dtype, copy=False) for x in xs], axis=settings.dim)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Along, _held: Tensors) -> Image:
    """Of channels."""
    if s.dim not in (1, -3):
        raise NotLowered(f"images side by side along dimension {s.dim}")
    return lowering.join(xs)


operator(
    Operator(
        "concatenate",
        lambda torch, xs, s, _t: torch.cat(xs, s.dim),
        _arrays,
        settings=Along,
        calls=dict.fromkeys(("torch.cat", "torch.concat", "torch.concatenate"), _call),
        shape=_shape,
        dtype=promoted,
        channels=lambda _settings: "joined",
        lower=_lower,
        arity=None,
        times=lambda shapes, s, times: (
            times[0] if len({*times, s.dim % len(shapes[0])}) == 2 and len(set(times)) == 1 else None
        ),
        onnx=lambda words, xs, s, _t: words.emit("Concat", *words.alike(xs), axis=s.dim),
    )
)
