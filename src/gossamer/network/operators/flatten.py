"""Several dimensions as one."""

from __future__ import annotations

from math import prod
from typing import Any

from gossamer.network.operators.base import Axis, Operator, Settings, Shape, Unsupported, operator


class Axes(Settings):
    """From which to which dimension."""

    start_dim: Axis = 1
    end_dim: Axis = -1


def _shape(shapes: tuple[Shape, ...], settings: Axes) -> Shape:
    """As torch counts: a negative dimension from the end.

    Example:
        >>> _shape(((2, 3, 4),), Axes())
        (2, 12)
    """
    (shape,) = shapes
    n = max(1, len(shape))
    start, end = (dim + n if dim < 0 else dim for dim in (settings.start_dim, settings.end_dim))
    if not 0 <= start <= end < n:
        raise ValueError(f"dimensions {settings.start_dim} to {settings.end_dim} of {len(shape)}")
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _times(shapes: tuple[Shape, ...], s: Axes, times: tuple[int, ...]) -> int | None:
    (time,), (start, end) = times, (dim % len(shapes[0]) for dim in (s.start_dim, s.end_dim))
    if time < start or start == end:
        return time
    return time - (end - start) if time > end else None


def _call(start_dim: int = 0, end_dim: int = -1) -> Axes:
    return Axes(start_dim=start_dim, end_dim=end_dim)


def _rows(*given: Any) -> Axes:
    """Of a reshape to the batch and whatever is left."""
    sizes = given[0] if len(given) == 1 else given
    if tuple(sizes) != (0, -1):
        raise Unsupported(f"sizes {sizes}")
    return Axes()


operator(
    Operator(
        "flatten",
        lambda torch, xs, s, _t: torch.flatten(xs[0], s.start_dim, s.end_dim),
        lambda xs, s, _t: xs[0].reshape(_shape((xs[0].shape,), s)),
        settings=Axes,
        modules={"torch.nn.Flatten": lambda m: (Axes(start_dim=m.start_dim, end_dim=m.end_dim), {})},
        calls={"torch.flatten": _call, ".flatten": _call}
        | dict.fromkeys(("torch.reshape", ".reshape", ".view"), _rows),
        shape=_shape,
        times=_times,
        dtype=lambda dtypes: dtypes[0],
        channels=lambda _settings: "flat",
        onnx=lambda words, xs, _s, _t: words.reshaped(xs[0]),
    )
)
