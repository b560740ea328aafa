"""The dimensions of a value in another order."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gossamer.network.operators.base import Axis, Operator, Settings, Shape, operator


class Order(Settings):
    """For each dimension of the result, which one of the input it is."""

    dims: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=8)]


def _order(n: int, settings: Order) -> tuple[int, ...]:
    """Dimensions without negative numbers; raises ValueError."""
    dims = tuple(dim + n if dim < 0 else dim for dim in settings.dims)
    if sorted(dims) != list(range(n)):
        raise ValueError(f"dimensions {list(settings.dims)} of {n}")
    return dims


def _shape(shapes: tuple[Shape, ...], settings: Order) -> Shape:
    """Sizes in the new order.

    Example:
        >>> _shape(((0, 3, 4, 5),), Order(dims=(0, 2, 3, 1)))
        (0, 4, 5, 3)
    """
    return tuple(shapes[0][dim] for dim in _order(len(shapes[0]), settings))


def _call(*given: Any) -> Order:
    """Dimensions one by one, or in one tuple."""
    return Order(dims=tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given)


operator(
    Operator(
        "permute",
        lambda _torch, xs, s, _t: xs[0].permute(s.dims),
        lambda xs, s, _t: np.ascontiguousarray(xs[0].transpose(s.dims)),
        settings=Order,
        calls=dict.fromkeys(("torch.permute", ".permute"), _call),
        shape=_shape,
        channels=lambda _settings: "permuted",
        dtype=lambda dtypes: dtypes[0],
        times=lambda shapes, s, times: _order(len(shapes[0]), s).index(times[0]),
        onnx=lambda words, xs, s, _t: words.emit("Transpose", xs[0], perm=_order(len(words.shapes[0]), s)),
    )
)
