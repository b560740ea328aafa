"""A part of each dimension: ``x[:, a:b]``, and one of the values that ``torch.split`` gives."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators.base import (
    LARGEST_SIZE,
    Inputs,
    Operator,
    Settings,
    Shape,
    Step,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.operators.together import LAST
from gossamer.network.spelling import Spelling

Place = Annotated[int, Field(ge=-LARGEST_SIZE, le=LARGEST_SIZE)]


Span = tuple[Place | None, Place | None, Step]  # a Python slice; None: from the first, or up to the last
WHOLE: Final[Span] = (None, None, 1)


class Spans(Settings):
    """One slice for each of the first dimensions; those behind are taken whole."""

    spans: Annotated[tuple[Span, ...], Field(min_length=1, max_length=8)]


def places(s: Spans) -> tuple[slice, ...]:
    """The index that it is."""
    return tuple(slice(*span) for span in s.spans)


def _shape(shapes: tuple[Shape, ...], s: Spans) -> Shape:
    """As Python counts.

    Example:
        >>> _shape(((0, 8, 5),), Spans(spans=(WHOLE, (2, -1, 2))))
        (0, 3, 5)
    """
    (shape,) = shapes
    if len(s.spans) > len(shape):
        raise ValueError(f"{len(s.spans)} slices of {len(shape)} dimensions")
    kept = zip(shape, places(s), strict=False)
    return (*(len(range(*part.indices(size))) for size, part in kept), *shape[len(s.spans) :])


def _times(_shapes: tuple[Shape, ...], s: Spans, times: tuple[int, ...]) -> int | None:
    """Every time, or the last one."""
    span = (*s.spans, *[WHOLE] * 8)[times[0]]
    return times[0] if span == WHOLE else LAST if span == (-1, None, 1) else None


def _index(index: Any) -> Spans:
    """Of ``x[index]``."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice) for part in parts):
        raise Unsupported("an index that is no slice")
    spans = [(part.start, part.stop, 1 if part.step is None else part.step) for part in parts]
    return Spans(spans=tuple(spans))


def _split(number: int, sizes: Any, dim: int = 0) -> Spans:
    """Of ``torch.split(x, sizes, dim)[number]``."""
    if dim < 0:
        raise Unsupported("a dimension counted from the end")
    if isinstance(sizes, int):
        if number < 0:
            raise Unsupported("a part counted from the end")
        start, stop = number * sizes, (number + 1) * sizes
    else:
        number = range(len(sizes))[number]
        start, stop = sum(sizes[:number]), sum(sizes[: number + 1])
    return Spans(spans=(*[WHOLE] * dim, (start, stop, 1)))


def _taken(_torch: Any, xs: Inputs, s: Spans, _held: Tensors) -> Any:
    return xs[0][places(s)]


def _lower(lowering: Lowering, xs: tuple[Image, ...], s: Spans, _held: Tensors) -> Image:
    """Neighbouring channels, and any rows and columns."""
    (x,) = xs
    kept = [range(size)[part] for size, part in zip((1, *x.size), places(s), strict=False)]
    channels, rows, cols = (*kept[1:], *(range(size) for size in x.size[len(kept) - 1 :]))
    if kept[0] != range(1) or channels.step != 1 or not all((channels, rows, cols)):
        raise NotLowered("a part of the batch, nothing, or channels that are no neighbours")
    if len(channels) < x.channels:
        x = lowering.part(x, channels[0], channels[-1] + 1)
    whole = (len(rows), len(cols)) == (x.height, x.width)
    return x if whole else lowering.move(x, np.array(rows), np.array(cols))


def _onnx(words: Spelling, xs: tuple[str, ...], s: Spans, _held: Tensors) -> str:
    (x,) = xs
    for dim, (start, stop, step) in enumerate(s.spans):
        if (start, stop, step) != WHOLE:
            x = words.part(x, dim, start or 0, LARGEST_SIZE if stop is None else stop, step)
    return x


operator(
    Operator(
        "slice",
        _taken,
        lambda xs, s, _t: xs[0][places(s)],
        settings=Spans,
        calls={"operator.getitem": _index},
        parts=dict.fromkeys(("torch.split", ".split"), _split),
        shape=_shape,
        times=_times,
        channels=lambda _settings: "sliced",
        lower=_lower,
        dtype=lambda dtypes: dtypes[0],
        onnx=_onnx,
    )
)
