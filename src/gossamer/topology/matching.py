"""Ways to match the neurons of two layers, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

from gossamer.errors import MissingPackage
from gossamer.measure import require_memory
from gossamer.topology.similarity import Side, pieces

Matching = Callable[[Side, Side], Tensor]


def hungarian(first: Side, second: Side) -> Tensor:
    """The matching of the largest total similarity, by SciPy; the memory of all pairs in float64, see ``check_pairs``.

    Args:
        first: Side.
        second: Side - with as many neurons.
    Returns:
        [neurons], int64 - for each neuron of the first the one of the second.
    Raises:
        MissingPackage: no SciPy.
    Cost: O(neurons ** 3) at worst; 8 bytes a pair.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "match neurons by 'hungarian'",
            expected="the package scipy",
            got="none",
            hint="pip install 'gossamer[train]', or take matching='greedy', which needs no SciPy",
        ) from error
    count = first.neurons.number
    cost = torch.empty(count, count, dtype=torch.float64)
    for rows, cols, score in pieces(first, second):
        torch.sub(1, score, out=cost[rows, cols])
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def check_pairs(matching: str, count: int) -> None:
    """Refuse to match so many neurons that there is no memory for it, before anything is computed.

    Args:
        matching: str - a name of ``MATCHINGS``.
        count: int - neurons of the widest layer.
    Raises:
        MemoryShortage: "hungarian" with too many pairs.
    Cost: O(1).
    """
    if matching == "hungarian":
        hint = "take matching='greedy', which holds no matrix of all pairs"
        require_memory(f"match {count} neurons by 'hungarian'", 8 * count * count + (1 << 28), hint)


def greedy(first: Side, second: Side) -> Tensor:
    """The most similar pair first, then the most similar of those that are left, and so on; without SciPy.

    Two neurons that are each other's best among all that are left are matched at once: the result is that of going
    through the sorted list of all pairs, which is never made.

    Args:
        first: Side.
        second: Side - with as many neurons.
    Returns:
        [neurons], int64 - for each neuron of the first the one of the second.
    Cost: a few times that of ``pieces``, whose memory it has; the number of rounds grows like the logarithm of neurons.
    """
    found = torch.empty(first.neurons.number, dtype=torch.int64)
    left, right = torch.arange(found.numel()), torch.arange(found.numel())
    while left.numel():
        partner, back = _best(first.take(left), second.take(right))
        agreed = back[partner] == torch.arange(left.numel())
        found[left[agreed]] = right[partner[agreed]]
        taken = torch.zeros(right.numel(), dtype=torch.bool)
        taken[partner[agreed]] = True
        left, right = left[~agreed], right[~taken]
    return found


def _best(first: Side, second: Side) -> tuple[Tensor, Tensor]:
    """The best partner of every neuron of the first, and of every one of the second; the lower number among equals."""
    best = [torch.full((side.neurons.number,), -1.0, dtype=torch.float64) for side in (first, second)]
    found = [torch.zeros(side.neurons.number, dtype=torch.int64) for side in (first, second)]
    for rows, cols, score in pieces(first, second):
        for side, (own, other) in enumerate(((rows, cols), (cols, rows))):
            value, at = score.max(1 - side)
            better = value > best[side][own]
            best[side][own] = torch.where(better, value, best[side][own])
            found[side][own] = torch.where(better, at + other.start, found[side][own])
    return found[0], found[1]


def identity(first: Side, second: Side) -> Tensor:  # noqa: ARG001 (ways of matching share a signature)
    """Every neuron with the one of its number."""
    return torch.arange(first.neurons.number)


MATCHINGS: dict[str, Matching] = {"hungarian": hungarian, "greedy": greedy, "identity": identity}


def by_colour(first: Tensor, second: Tensor) -> Tensor:
    """A matching of neurons that all matchings suit: equal colours, then equal numbers, then what is left in order.

    Args:
        first: [levels, neurons], int64 - their colours; those of the last level first.
        second: [levels, neurons], int64 - those of the others.
    Returns:
        [neurons], int64 - for each neuron of the first the one of the second.
    Cost: O(levels * neurons).
    Example:
        >>> by_colour(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[6, 9, 7, 5]])).tolist()
        [3, 0, 2, 1]
    """
    number, anything = torch.arange(first.shape[1]), torch.zeros(first.shape[1], dtype=torch.int64)
    left, right, found = number.tolist(), number.tolist(), [-1] * number.numel()
    levels = zip(first.flip(0), second.flip(0), strict=True)
    for own, other in (*levels, (number, number), (anything, anything)):
        waiting = defaultdict(list)
        for partner in reversed(right):
            waiting[int(other[partner])].append(partner)
        for each in left:
            if same := waiting[int(own[each])]:
                found[each] = same.pop()
        left = [each for each in left if found[each] < 0]
        right = sorted(set(right) - set(found))
    return torch.tensor(found)
