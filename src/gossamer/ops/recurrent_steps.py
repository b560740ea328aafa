"""What recurrent layers compute, step by step in torch: the definition, and what runs where the core has no kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

State = tuple[Tensor, Tensor | None]
Product = Callable[[Tensor], Tensor]


def widths(x: Tensor, h: Tensor, active: Tensor | None) -> list[int]:
    """Sequences that have each time.

    Args:
        x: [columns, ..] - of all times.
        h: [sequences, hidden].
        active: int64 [times] or None - what is returned, where it is there; None: all have all.

    Example:
        >>> widths(torch.zeros(6, 3), torch.zeros(2, 1), None)
        [2, 2, 2]
    """
    if active is not None:
        return [int(each) for each in active.tolist()]
    return [h.shape[0]] * (x.shape[0] // h.shape[0] if h.shape[0] else 1)


def steps(
    product: Product,
    x: Tensor,
    state: State,
    active: Sequence[int],
    cell: str,
    reverse: bool,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a layer in one direction over sequences that are ordered by length, longest first.

    Args:
        product: [n, hidden] -> [n, gates * hidden] - what a state adds to the gates.
        x: [columns, gates * hidden] - what the input adds, ordered by time, in a time by sequence.
        state: h and c, [sequences, hidden] each; c of an LSTM alone, else None.
        active: sequences that have each time, never growing.
        cell: str - "tanh", "relu", "lstm" or "gru".
        reverse: bool - the last time is the first step.
        offset: like x, or None - added to what the state adds.

    Returns:
        h after each step [columns, hidden], and h and c after the last step of each sequence.

    Cost: one product and some ten operations of torch a step; autograd keeps what it needs of them.
    """
    first, (h, c) = state, (_none(state[0]), None if state[1] is None else _none(state[1]))
    parts, made, done = x.split(list(active)), list[Tensor](), list[State]()
    beside = [None] * len(parts) if offset is None else offset.split(list(active))
    for time in reversed(range(len(parts))) if reverse else range(len(parts)):
        (h, c), ended = _resized((h, c), first, parts[time].shape[0])
        done += ended
        q, more = product(h), beside[time]
        h, c = _step(cell, parts[time], q if more is None else q + more, h, c)
        made.append(h)
    done.append((h, c))
    y = torch.cat(made[::-1] if reverse else made)
    last = [torch.cat([each[k] for each in done[::-1]]) for k in (0, 1) if done[0][k] is not None]  # type: ignore[misc]
    return y, last[0], last[1] if len(last) > 1 else None


def _none(tensor: Tensor) -> Tensor:
    return tensor[:0]


def _resized(state: State, first: State, wanted: int) -> tuple[State, list[State]]:
    """The state of so many sequences, and that of those which end here."""
    have = state[0].shape[0]
    if wanted < have:
        return _cut(state, 0, wanted), [_cut(state, wanted, have)]
    if wanted == have:
        return state, []
    new = _cut(first, have, wanted)
    h = torch.cat([state[0], new[0]])
    return (h, None if state[1] is None or new[1] is None else torch.cat([state[1], new[1]])), []


def _cut(state: State, begin: int, end: int) -> State:
    h, c = state
    return h[begin:end], None if c is None else c[begin:end]


def _step(cell: str, x: Tensor, q: Tensor, h: Tensor, c: Tensor | None) -> State:
    """The state after a step; x and q: what the input and the state before it add to the gates."""
    if c is not None:
        i, f, g, o = (x + q).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if cell == "gru":
        (xr, xz, xn), (qr, qz, qn) = x.chunk(3, 1), q.chunk(3, 1)
        n = (xn + (xr + qr).sigmoid() * qn).tanh()
        return n + (xz + qz).sigmoid() * (h - n), None
    return (x + q).relu() if cell == "relu" else (x + q).tanh(), None


def earlier(y: Tensor, h: Tensor, active: Tensor | None, reverse: bool) -> Tensor:
    """The state before each step, [columns, hidden], of the states after them and that before the first.

    Args:
        y: [columns, hidden] - after each step.
        h: [sequences, hidden] - before the first.
        active: int64 [times] - sequences that have each time; None: all have all.
        reverse: bool - the last time is the first step.

    Cost: a copy of the states.

    Example:
        >>> y, h = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[9.0]])
        >>> earlier(y, h, None, False).flatten().tolist(), earlier(y, h, None, True).flatten().tolist()
        ([9.0, 1.0, 2.0], [2.0, 3.0, 9.0])
    """
    width, columns = h.shape[0], y.shape[0]
    after, first = y.t(), h.t()  # features outermost, as the core has them
    if active is None:
        parts = [after[:, width:], first] if reverse else [first, after[:, : columns - width]]
        return torch.cat(parts, 1).t()
    here, begin = torch.arange(columns), active.cumsum(0) - active
    if not reverse:
        before = torch.cat([active.new_tensor([width]), active[:-1]])
        places = here + width - before.repeat_interleave(active)
        return torch.cat([first, after], 1).index_select(1, places).t()
    following = torch.cat([active[1:], active.new_zeros(1)])
    sequence = here - begin.repeat_interleave(active)
    goes_on = sequence < following.repeat_interleave(active)
    places = torch.where(goes_on, here + active.repeat_interleave(active), columns + sequence)
    return torch.cat([after, first], 1).index_select(1, places).t()
