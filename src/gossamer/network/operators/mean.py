"""The mean over dimensions, such as height and width."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from pydantic import Field

from gossamer.network.lowering import Image, Lowering, NotLowered, even_windows
from gossamer.network.operators.base import (
    Axis,
    Inputs,
    Operator,
    Settings,
    Shape,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.spelling import Spelling


class Over(Settings):
    """The dimensions, and whether they stay, with size one."""

    dims: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=8)]
    keepdim: bool = False


def _shape(shapes: tuple[Shape, ...], settings: Over) -> Shape:
    """Without the dimensions, or with ones in their place.

    Example:
        >>> _shape(((2, 3, 4, 5),), Over(dims=(2, -1))), _shape(((2, 3),), Over(dims=(0,), keepdim=True))
        ((2, 3), (1, 3))
    """
    (shape,) = shapes
    n = len(shape)
    if any(not -n <= dim < n for dim in settings.dims):
        raise ValueError(f"dimensions {list(settings.dims)} of {n}")
    gone = {dim % n for dim in settings.dims}
    if len(gone) < len(settings.dims):
        raise ValueError(f"dimensions {list(settings.dims)}, one of them twice")
    if settings.keepdim:
        return tuple(1 if at in gone else size for at, size in enumerate(shape))
    return tuple(size for at, size in enumerate(shape) if at not in gone)


def _times(shapes: tuple[Shape, ...], s: Over, times: tuple[int, ...]) -> int | None:
    (time,), gone = times, {dim % len(shapes[0]) for dim in s.dims}
    return None if time in gone else time if s.keepdim else time - sum(dim < time for dim in gone)


def _call(dim: Any, keepdim: bool = False, dtype: Any = None) -> Over:
    if dtype is not None:
        raise Unsupported("a dtype of its own")
    return Over(dims=tuple(dim) if isinstance(dim, (tuple, list)) else (dim,), keepdim=keepdim)


def _line(output_size: Any) -> Over:
    """Of an adaptive pool over lines, which is a mean where it gives one number."""
    if output_size not in (1, (1,), [1]):
        raise Unsupported("several means of a line")
    return Over(dims=(-1,), keepdim=True)


def _arrays(xs: Inputs, s: Over, _held: Tensors) -> Any:
    (x,) = xs
    count = prod(x.shape[dim] for dim in s.dims)
    return x.sum(axis=s.dims, keepdims=s.keepdim) / x.dtype.type(count)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Over, _held: Tensors) -> Image:
    """Of whole planes."""
    if sorted(dim % 4 for dim in s.dims) != [2, 3]:
        raise NotLowered(f"a mean over {list(s.dims)}")
    return lowering.window(xs[0], "mean pool", even_windows(xs[0].height, 1), even_windows(xs[0].width, 1))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Over, _held: Tensors) -> str:
    return words.emit("ReduceMean", xs[0], words.constant(s.dims), keepdims=int(s.keepdim))


operator(
    Operator(
        "mean",
        lambda torch, xs, s, _t: torch.mean(xs[0], s.dims, s.keepdim),
        _arrays,
        ulps=8,
        settings=Over,
        modules={"torch.nn.AdaptiveAvgPool1d": lambda m: (_line(m.output_size), {})},
        calls={"torch.mean": _call, ".mean": _call, "torch.nn.functional.adaptive_avg_pool1d": _line},
        shape=_shape,
        times=_times,
        channels=lambda _settings: "averaged",
        lower=_lower,
        onnx=_onnx,
    )
)
