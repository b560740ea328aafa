"""The same numbers in other dimensions."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from pydantic import Field

from gossamer.errors import ShapeError
from gossamer.network.operators.base import LARGEST_SIZE, Inputs, Operator, Settings, Shape, Tensors, operator

KEPT, REST = 0, -1  # instead of a size: the one that the input has there; whatever is left


class Sizes(Settings):
    """The new sizes; 0, in front: the size that the input has in that place, -1, once: whatever is left."""

    sizes: Annotated[
        tuple[Annotated[int, Field(ge=-1, le=LARGEST_SIZE)], ...], Field(min_length=1, max_length=8)
    ]

    @property
    def kept(self) -> int:
        """How many sizes in front are those of the input."""
        return next((at for at, size in enumerate(self.sizes) if size != KEPT), len(self.sizes))


def _shape(shape: Shape, s: Sizes) -> Shape:
    """The new shape; raises ShapeError.

    Example:
        >>> _shape((0, 6, 2), Sizes(sizes=(0, -1))), _shape((4, 6), Sizes(sizes=(-1, 2, 3)))
        ((0, 12), (4, 2, 3))
    """
    front, made = shape[: s.kept], list(s.sizes[s.kept :])
    given, others = prod(shape[s.kept :]), prod(size for size in made if size != REST)
    fits = given % others == 0 if others and REST in made else given == others
    if s.kept >= len(shape) or not made or KEPT in made or made.count(REST) > 1 or not fits:
        raise _refused(shape, s)
    return (*front, *(given // others if size == REST else size for size in made))


def _refused(shape: Shape, s: Sizes) -> ShapeError:
    return ShapeError(
        "reshape",
        expected=f"a tensor that {list(s.sizes)} can hold, where 0 keeps a size and -1 is the rest",
        got=str(list(shape)),
        hint="one sample is a batch as well: x.unsqueeze(0)",
    )


def _call(*given: Any) -> Sizes:
    """Sizes one by one, or in one tuple; a size of zero would be no size of ours."""
    return Sizes(sizes=tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given)


def _tensors(_torch: Any, xs: Inputs, s: Sizes, _held: Tensors) -> Any:
    """An empty batch leaves what any other does."""
    if xs[0].ndim <= s.kept:
        raise _refused(tuple(xs[0].shape), s)
    return xs[0].flatten(s.kept).unflatten(s.kept, s.sizes[s.kept :]) if s.kept else xs[0].reshape(s.sizes)


operator(
    Operator(
        "reshape",
        _tensors,
        lambda xs, s, _t: xs[0].reshape(_shape(xs[0].shape, s)),
        settings=Sizes,
        calls=dict.fromkeys(("torch.reshape", ".reshape", ".view"), _call),
        times=lambda _shapes, s, times: times[0] if times[0] < s.kept else None,
        shape=lambda shapes, s: _shape(shapes[0], s),
        dtype=lambda dtypes: dtypes[0],
        channels=lambda _settings: "reshaped",
        onnx=lambda words, xs, _s, _t: words.reshaped(xs[0]),
    )
)
