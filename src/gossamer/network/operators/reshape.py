"""The same numbers in other dimensions."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from pydantic import Field

from gossamer.network.operators.base import LARGEST_SIZE, Inputs, Operator, Settings, Shape, Tensors, operator

KEPT, REST = 0, -1  # instead of a size: the one that the input has there; whatever is left


class Sizes(Settings):
    """The new sizes; 0: the size that the input has in that place, -1, once: whatever is left."""

    sizes: Annotated[
        tuple[Annotated[int, Field(ge=-1, le=LARGEST_SIZE)], ...], Field(min_length=1, max_length=8)
    ]


def sizes(shape: Shape, s: Sizes) -> Shape:
    """The new shape; raises ValueError.

    Example:
        >>> sizes((0, 6, 2), Sizes(sizes=(0, -1))), sizes((4, 6), Sizes(sizes=(-1, 2, 3)))
        ((0, 12), (4, 2, 3))
    """
    wanted = s.sizes
    if any(size == KEPT and at >= len(shape) for at, size in enumerate(wanted)) or wanted.count(REST) > 1:
        raise ValueError(f"{list(shape)} as {list(wanted)}")
    made = [shape[at] if size == KEPT else size for at, size in enumerate(wanted)]
    if REST in made:
        made[made.index(REST)] = _rest(shape, wanted)
    if prod(made) != prod(shape):
        raise ValueError(f"{list(shape)} as {list(wanted)}")
    return tuple(made)


def _rest(shape: Shape, wanted: tuple[int, ...]) -> int:
    """What is left for one dimension; kept sizes are cancelled, so that an empty batch leaves what any other does."""
    kept = {at for at, size in enumerate(wanted) if size == KEPT}
    given = prod(size for at, size in enumerate(shape) if at not in kept)
    others = prod(size for size in wanted if size > 0)
    if given % others:
        raise ValueError(f"{list(shape)} as {list(wanted)}")
    return given // others


def _call(*given: Any) -> Sizes:
    """Sizes one by one, or in one tuple; a size of zero would be no size of ours."""
    return Sizes(sizes=tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given)


def _tensors(_torch: Any, xs: Inputs, s: Sizes, _held: Tensors) -> Any:
    return xs[0].reshape(sizes(tuple(xs[0].shape), s))


operator(
    Operator(
        "reshape",
        _tensors,
        lambda xs, s, _t: xs[0].reshape(sizes(xs[0].shape, s)),
        settings=Sizes,
        calls=dict.fromkeys(("torch.reshape", ".reshape", ".view"), _call),
        shape=lambda shapes, s: sizes(shapes[0], s),
        dtype=lambda dtypes: dtypes[0],
    )
)
