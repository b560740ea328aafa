"""One of the equal parts of a value along one dimension, as ``torch.chunk`` gives them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import Axis, Inputs, Operator, Settings, Shape, Step, Tensors, operator
from gossamer.network.spelling import NotSpelled, Spelling


class Chunk(Settings):
    """How many parts, along which dimension, and which of them; a negative one is counted from the last."""

    chunks: Step
    dim: Axis = 0
    number: Annotated[int, Field(ge=-1024, le=1023)]


def place(shape: Shape, s: Chunk) -> tuple[int, int, int]:
    """(dimension, start, stop): the parts are equal but the last, and may be fewer than asked for.

    Example:
        >>> place((2, 7, 4), Chunk(chunks=3, dim=1, number=-1)), place((2, 6), Chunk(chunks=2, dim=-1, number=0))
        ((1, 6, 7), (1, 0, 3))
    """
    n = len(shape)
    if not -n <= s.dim < n:
        raise ValueError(f"dimension {s.dim} of {n}")
    dim = s.dim % n
    size = shape[dim]
    each = -(-size // s.chunks)
    count = -(-size // each) if each else s.chunks
    if not -count <= s.number < count:
        raise ValueError(f"part {s.number} of {count}")
    start = s.number % count * each
    return dim, start, min(size, start + each)


def _shape(shapes: tuple[Shape, ...], s: Chunk) -> Shape:
    dim, start, stop = place(shapes[0], s)
    return (*shapes[0][:dim], stop - start, *shapes[0][dim + 1 :])


def _arrays(xs: Inputs, s: Chunk, _held: Tensors) -> Any:
    dim, start, stop = place(xs[0].shape, s)
    return xs[0][(slice(None),) * dim + (slice(start, stop),)]


def _part(number: int, chunks: int, dim: int = 0) -> Chunk:
    return Chunk(chunks=chunks, dim=dim, number=number)


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Chunk, _held: Tensors) -> Image:
    """Of channels."""
    dim, start, stop = place((1, *xs[0].size), s)
    if dim != 1:
        raise NotLowered(f"a part of dimension {dim}")
    return lowering.part(xs[0], start, stop)


def _onnx(words: Spelling, xs: tuple[str, ...], s: Chunk, _held: Tensors) -> str:
    dim, start, stop = place(words.shapes[0], s)
    if words.free[dim]:
        raise NotSpelled("equal parts of a batch of any size")
    return words.part(xs[0], dim, start, stop)


operator(
    Operator(
        "chunk",
        lambda torch, xs, s, _t: torch.chunk(xs[0], s.chunks, s.dim)[s.number],
        _arrays,
        settings=Chunk,
        parts=dict.fromkeys(("torch.chunk", ".chunk"), _part),
        shape=_shape,
        times=lambda shapes, s, times: times[0] if s.dim % len(shapes[0]) != times[0] else None,
        channels=lambda _settings: "parts",
        lower=_lower,
        dtype=lambda dtypes: dtypes[0],
        onnx=_onnx,
    )
)
