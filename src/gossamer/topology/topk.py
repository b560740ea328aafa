"""The largest of scores that are at hand, in plain torch: exactly k, and among equal ones the first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import NonFiniteError

CHUNK = 32  # neighbours whose maximum stands for them


def top_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the k largest scores; among equal ones the first win.

    Args:
        scores: [n], float - finite.
        k: int - how many, at most n.
    Returns:
        [n], bool - exactly k True.
    Raises:
        NonFiniteError: a score is NaN or infinite.
    Cost: O(n) time (a selection, not a sort).
    Example:
        >>> top_mask(torch.tensor([1., 3., 3., 3.]), 2).tolist()
        [False, True, True, False]
    """
    if scores.numel() and not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("top_mask", expected="finite scores", got="NaN or infinity")
    if k <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    numbers = scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores
    place = scores.numel() - k  # NumPy's selection takes a third of the memory of torch's
    threshold = float(np.partition(numbers.numpy(force=True), place)[place])
    chosen = scores > threshold
    ties = (scores == threshold).nonzero().squeeze(1)
    chosen[ties[: k - int(chosen.sum())]] = True
    return chosen


def top_mask_in_buckets(scores: Tensor, bucket: Tensor, k: Tensor) -> Tensor:
    """Mark the largest scores of every bucket; among equal ones the first win.

    Args:
        scores: [n], float - finite.
        bucket: [n], int64 - the bucket of each.
        k: [buckets], int64 - how many to mark; all where a bucket has fewer.
    Returns:
        [n], bool.
    Cost: O(n log n).
    Example:
        >>> scores, bucket = torch.tensor([1., 3., 2., 2., 5.]), torch.tensor([0, 0, 1, 1, 0])
        >>> top_mask_in_buckets(scores, bucket, torch.tensor([2, 1])).tolist()
        [False, True, True, False, True]
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[bucket[order].argsort(stable=True)]  # bucket by bucket, largest first
    counts = torch.bincount(bucket, minlength=k.numel())
    rank = torch.arange(order.numel()) - (counts.cumsum(0) - counts)[bucket[order]]
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order] = rank < k[bucket[order]]
    return mask


def _largest(scores: Tensor, k: int) -> Tensor:
    """[rows, k] indices of the k largest of each row, largest first.

    The k largest lie in the k chunks with the largest maxima, so one cheap pass for the maxima replaces a selection
    over the whole row where rows are long.
    """
    rows, width = scores.shape
    if k * CHUNK * 4 > width:
        return torch.topk(scores, k, dim=1).indices
    whole = width // CHUNK * CHUNK  # the columns after the last whole chunk are always candidates
    chunks = torch.topk(scores[:, :whole].unflatten(1, (-1, CHUNK)).amax(2), k, dim=1).indices
    inside = (chunks.unsqueeze(2) * CHUNK + torch.arange(CHUNK)).flatten(1)
    candidates = torch.cat([inside, torch.arange(whole, width).expand(rows, -1)], dim=1)
    return candidates.gather(1, torch.topk(scores.gather(1, candidates), k, dim=1).indices)


def above(scores: Tensor, floor: float) -> Tensor:
    """Ascending indices of the scores above ``floor``; where they are few, chunks without one are passed over."""
    whole = scores.numel() // CHUNK * CHUNK
    chunks = (scores[:whole].view(-1, CHUNK).amax(1) > floor).nonzero().squeeze(1)
    if chunks.numel() * CHUNK * 4 > whole:
        return (scores > floor).nonzero().squeeze(1)
    inside = (chunks.unsqueeze(1) * CHUNK + torch.arange(CHUNK)).view(-1)
    candidates = torch.cat([inside, torch.arange(whole, scores.numel())])
    return candidates[scores[candidates] > floor]


def best_of_rows(scores: Tensor, want: Tensor) -> tuple[Tensor, Tensor]:
    """(row, column) of the ``want[r]`` largest scores of each row; among equal ones the first win."""
    most = min(
        int(want.max()) + 1, scores.shape[1]
    )  # one more, to see whether the last one chosen has an equal left out
    best = _largest(scores, most)
    value, rank = scores.gather(1, best), torch.arange(most)
    last = value.gather(1, (want - 1).clamp(min=0).unsqueeze(1))
    after = value.gather(1, want.clamp(max=most - 1).unsqueeze(1))
    chosen = rank < want.unsqueeze(1)
    unclear = ((last == after).squeeze(1) & (want > 0) & (want < scores.shape[1])).nonzero().squeeze(1)
    if unclear.numel():  # a selection keeps any of equal ones
        tied = chosen[unclear] & (value[unclear] == last[unclear])
        columns = best[unclear]
        columns[tied] = _first_equal(scores, unclear, last[unclear], tied.sum(1))
        best[unclear] = columns
    row = torch.arange(want.numel()).unsqueeze(1).expand_as(best)
    return row[chosen], best[chosen]


def _first_equal(scores: Tensor, rows: Tensor, value: Tensor, need: Tensor) -> Tensor:
    """Columns of the first ``need[i]`` entries of row ``rows[i]`` that equal ``value[i]``, row after row."""
    found, begin = torch.empty(int(need.sum()), dtype=torch.int64), need.cumsum(0) - need
    waiting, width = torch.arange(rows.numel()), CHUNK
    while waiting.numel():  # look at a growing front part of the rows that have not enough yet
        equal = scores[rows[waiting], :width] == value[waiting]
        enough = equal.sum(1) >= need[waiting]
        ready, column = equal[enough].nonzero(as_tuple=True)
        owner = waiting[enough]
        counts = torch.bincount(ready, minlength=owner.numel())
        rank = torch.arange(ready.numel()) - (counts.cumsum(0) - counts)[ready]
        first = rank < need[owner][ready]
        found[begin[owner][ready[first]] + rank[first]] = column[first]
        waiting, width = waiting[~enough], 4 * width
    return found
