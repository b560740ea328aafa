"""How features pass through calls that only torch computes: dimensions in another order, and the heads of attention.

A head is the numbers of a row that stand in a dimension of their own; they live and die together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gossamer.trace.held import ROW, Features, Held, in_order
from gossamer.trace.opaque import Method, Slot, TracedCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.network.graph import Node, Opaque

Shape = tuple[int, ...]


class Called(NamedTuple):
    """A call of torch.

    Args:
        inputs: list of Held - of its tensors; sizes are left out.
        rest: what stands behind the tensors: numbers, and a Slot for what was computed.
        named: likewise.
        before: the shape of its first tensor.
        after: that of its result.
    """

    inputs: list[Held]
    rest: list[Any]
    named: dict[str, Any]
    before: Shape
    after: Shape


def torch_call(found: Features, node: Node, body: Opaque, shapes: Mapping[str, Shape]) -> Held | None:
    """The features of what a call gives; None where it needs its inputs as a whole.

    Args:
        found: Features - so far; heads are tied in it.
        node: Node.
        body: its Opaque.
        shapes: of values.
    """
    call = body.run
    if not isinstance(call, TracedCall) or not {node.name, *node.inputs[:1]} <= shapes.keys():
        return None
    name = call.target.name if isinstance(call.target, Method) else getattr(call.target, "__name__", "")
    way = CALLS.get(name)
    inputs = [found.held[each] for each in node.inputs if each in found.held]
    count = len(inputs)
    if way is None or not count or list(call.args[:count]) != [Slot(at) for at in range(count)]:
        return None
    rest = list(call.args[count:])
    if len(rest) == 1 and isinstance(rest[0], (tuple, list)):
        rest = list(rest[0])
    return way(found, Called(inputs, rest, call.kwargs, shapes[node.inputs[0]], shapes[node.name]))


def _alike(_found: Features, call: Called) -> Held | None:
    """The same numbers in the same order."""
    return call.inputs[0]


def _transposed(_found: Features, call: Called) -> Held | None:
    """Two dimensions change places."""
    if len(call.rest) != 2 or call.named:
        return None
    order = list(range(len(call.before)))
    first, second = (dim % len(order) for dim in call.rest)
    order[first], order[second] = order[second], order[first]
    return in_order(call.inputs[0], order)


def _unflattened(found: Features, call: Called) -> Held | None:
    """One dimension as several."""
    if len(call.rest) != 2 or call.named:
        return None
    dim, sizes = call.rest
    last = dim % len(call.before) == len(call.before) - 1
    return _reshaped(found, call._replace(rest=list(sizes))) if last else None


def _reshaped(found: Features, call: Called) -> Held | None:
    """Rows cut into heads, or heads joined to rows; their number must be left open, as -1."""
    (x,), before, after = call.inputs, call.before, call.after
    stated = [size for size in call.rest if not isinstance(size, Slot)]
    if call.named:
        return None
    if x.axis == ROW and len(stated) == 2 and stated[0] == -1 and after[:-2] == before[:-1]:
        parts = x.fates.reshape(-1, after[-1])
        found.together.append(parts)
        found.ties += [(parts[:, 0], column) for column in parts.T[1:]]
        return Held(parts[:, 0], ROW - 1, x.constants[:: after[-1]], np.zeros(len(parts), bool))
    if x.axis == ROW - 1 and stated == [-1] and after[:-1] == before[:-2]:
        each = before[-1]
        return Held(
            np.repeat(x.fates, each), ROW, x.constants.repeat_interleave(each), np.repeat(x.known, each)
        )
    return None


def _attended(found: Features, call: Called) -> Held | None:
    """Attention, or a product of matrices: head by head."""
    first = call.inputs[0]
    masked = call.rest or call.named.keys() - {"dropout_p", "is_causal", "scale"}
    if masked or any(each.axis > ROW - 2 or each.axis != first.axis for each in call.inputs):
        return None
    if len({each.fates.size for each in call.inputs}) > 1:
        return None
    found.ties += [(first.fates, other.fates) for other in call.inputs[1:]]
    return first._replace(known=np.zeros(first.known.size, bool))


CALLS: Final[dict[str, Callable[[Features, Called], Held | None]]] = {
    "contiguous": _alike,
    "transpose": _transposed,
    "swapaxes": _transposed,
    "unflatten": _unflattened,
    "view": _reshaped,
    "reshape": _reshaped,
    "matmul": _attended,
    "scaled_dot_product_attention": _attended,
}
