"""How features pass through an operator, for every way that operators name as theirs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from gossamer.network.graph import Call
from gossamer.network.operators.flatten import Axes
from gossamer.network.operators.pad import around
from gossamer.network.operators.slice import WHOLE
from gossamer.trace.held import BORDER, Features, Held, in_order

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array


class Passed(NamedTuple):
    """An operator and what it is given.

    Args:
        body: Call.
        inputs: list of Held.
        before: the shape of its first input.
        after: that of its result; () where nothing reads it.
    """

    body: Call
    inputs: list[Held]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def settings(self) -> Any:
        """Of the operator."""
        return self.body.settings

    @property
    def by_channel(self) -> int | None:
        """Where features stand in the result, if both are [batch, channels, ...]."""
        fits = len(self.before) + self.inputs[0].axis == 1 and len(self.after) > 1
        return 1 - len(self.after) if fits else None


def _together(found: Features, passed: Passed) -> Held | None:
    """Number by number of two values: a feature goes from both or from none."""
    first, second = passed.inputs
    if first.axis != second.axis or first.fates.size != second.fates.size:
        return None
    found.ties.append((first.fates, second.fates))
    constants = passed.body(first.constants, second.constants)
    return Held(first.fates, first.axis, constants, first.known & second.known)


def _joined(_found: Features, passed: Passed) -> Held | None:
    """Side by side."""
    s, inputs, dims = passed.settings, passed.inputs, len(passed.before)
    axis = inputs[0].axis
    if s.dim % dims != axis + dims or any(each.axis != axis for each in inputs):
        return None
    constants = torch.cat([each.constants for each in inputs])
    fates, known = (np.concatenate([each[at] for each in inputs]) for at in (0, 3))
    return Held(fates, axis, constants, known)


def _flat(_found: Features, passed: Passed) -> Held | None:
    """Several dimensions as one: a channel is as many numbers as it has pixels."""
    s, (x,), before = passed.settings, passed.inputs, passed.before
    dims, at = len(before), len(before) + x.axis
    start, end = s.start_dim % dims, s.end_dim % dims
    if not start <= at <= end:
        after = at if at < start else at - (end - start)
        return x._replace(axis=after - (dims - (end - start)))
    if start == 0:
        return None  # samples and features in one
    each, often = prod(before[at + 1 : end + 1]), prod(before[start:at])
    fates, known = (np.tile(np.repeat(row, each), often) for row in (x.fates, x.known))
    constants = x.constants.repeat_interleave(each).repeat(often)
    return Held(fates, start - (dims - (end - start)), constants, known)


def _reshaped(found: Features, passed: Passed) -> Held | None:
    """Sizes in front that stay, and one for all others; stated sizes are others with fewer features."""
    s, (x,) = passed.settings, passed.inputs
    at = len(passed.before) + x.axis
    if at < s.kept:
        return x._replace(axis=at - len(s.sizes))
    if s.sizes != (0,) * s.kept + (-1,):
        return None
    return _flat(found, passed._replace(body=Call("flatten", Axes(start_dim=s.kept))))


def _averaged(_found: Features, passed: Passed) -> Held | None:
    """The mean over other dimensions."""
    s, (x,), before = passed.settings, passed.inputs, passed.before
    dims, at = len(before), len(before) + x.axis
    gone = {dim % dims for dim in s.dims}
    if at in gone:
        return None
    return x if s.keepdim else x._replace(axis=x.axis + sum(dim > at for dim in gone))


def _sliced(_found: Features, passed: Passed) -> Held | None:
    """Some rows, columns or times; some features are numbers in the model's code."""
    s, (x,) = passed.settings, passed.inputs
    at = len(passed.before) + x.axis
    return x if at >= len(s.spans) or s.spans[at] == WHOLE else None


def _along(_found: Features, passed: Passed) -> Held | None:
    """Mixed along one dimension, and alike in all others."""
    s, (x,), dims = passed.settings, passed.inputs, len(passed.before)
    if s.dim % dims == dims + x.axis:
        return None
    return x._replace(known=np.zeros(x.known.size, bool))


def _permuted(_found: Features, passed: Passed) -> Held | None:
    """Dimensions in another order."""
    (x,), dims = passed.inputs, len(passed.before)
    return in_order(x, [dim % dims for dim in passed.settings.dims])


def _chunk(found: Features, passed: Passed) -> Held | None:
    """One of equal parts: they stay equal where the same features go from each."""
    s, (x,), dims = passed.settings, passed.inputs, len(passed.before)
    if s.dim % dims != dims + x.axis:
        return x
    if x.fates.size % s.chunks:
        return None
    parts, size = x.fates.reshape(s.chunks, -1), x.fates.size // s.chunks
    found.ties += [(parts[0], part) for part in parts[1:]]
    part = slice(s.number % s.chunks * size, (s.number % s.chunks + 1) * size)
    return Held(x.fates[part], x.axis, x.constants[part], x.known[part])


def _padded(found: Features, passed: Passed) -> Held | None:
    """A border of one number; its width is a number in the model's code, so new features stay."""
    s, (x,) = passed.settings, passed.inputs
    border = around(len(passed.before), s)
    first, last = border.pop(x.axis)
    edges = any(map(any, border))
    if edges and s.value:
        return None
    nothing: Array = (x.constants == 0).numpy()
    known = x.known & nothing if edges else x.known
    if not (first or last):
        return x._replace(known=known)
    new = [found.new(count) for count in (first, last)]
    found.pinned += [(fates, BORDER) for fates in new]
    constants = torch.nn.functional.pad(x.constants, (first, last), value=s.value)
    fates = np.concatenate((new[0], x.fates, new[1]))
    return Held(fates, x.axis, constants, np.pad(known, (first, last), constant_values=True))


def _computed(_found: Features, passed: Passed) -> Held | None:
    """With a scale and a shift for each channel; a scale of zero leaves the shift alone."""
    (x,), axis = passed.inputs, passed.by_channel
    if axis is None:
        return None
    scale = passed.body.tensors.get("weight")
    unscaled = np.zeros(x.known.size, bool) if scale is None else (scale == 0).numpy()
    return Held(x.fates, axis, passed.body(x.constants[None])[0], x.known | unscaled)


def _kept(_found: Features, passed: Passed) -> Held | None:
    """Every channel of itself alone; a constant one stays what it is."""
    (x,), axis = passed.inputs, passed.by_channel
    return None if axis is None else x._replace(axis=axis)


def _zero(found: Features, passed: Passed) -> Held | None:
    """The same, where only zeros stay what they are."""
    x = _kept(found, passed)
    return None if x is None else x._replace(known=x.known & (x.constants == 0).numpy())


WAYS: Final[dict[str, Callable[[Features, Passed], Held | None]]] = {
    "together": _together,
    "joined": _joined,
    "flat": _flat,
    "reshaped": _reshaped,
    "averaged": _averaged,
    "sliced": _sliced,
    "along": _along,
    "parts": _chunk,
    "padded": _padded,
    "permuted": _permuted,
    "computed": _computed,
    "kept": _kept,
    "zero": _zero,
}
