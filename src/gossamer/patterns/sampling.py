"""Drawing distinct positions at random, in time and memory of what is drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_distinct(
    free: Tensor, want: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw ``want[b]`` distinct integers from ``range(free[b])`` for every bucket b, uniformly.

    Args:
        free: [buckets], int64 - how many integers each bucket offers.
        want: [buckets], int64 - how many to draw from each, at most ``free``.
        generator: torch.Generator or None - source of randomness.
    Returns:
        (bucket, rank): two [sum(want)] int64 tensors, sorted by bucket, then rank.
    Cost: O(drawn) time and memory (expected): sparse buckets reject repeats, crowded ones are enumerated.
    Example:
        >>> bucket, rank = sample_distinct(torch.tensor([4, 10**12]), torch.tensor([4, 2]))
        >>> bucket.tolist(), rank[:4].tolist()
        ([0, 0, 0, 0, 1, 1], [0, 1, 2, 3])
    """
    crowded = want * 2 > free
    # A bucket's integers are numbered from its first one on, so that one sort orders all.
    first = free.cumsum(0) - free
    key = torch.cat(
        [
            _enumerate(crowded.nonzero().squeeze(1), free, want, first, generator),
            _reject((~crowded & (want > 0)).nonzero().squeeze(1), free, want, first, generator),
        ]
    )
    if bool(crowded.any()):  # what was drawn is in order already
        key = key.sort().values
    bucket = torch.repeat_interleave(torch.arange(want.numel()), want)
    return bucket, key.sub_(first[bucket])


def _enumerate(
    buckets: Tensor, free: Tensor, want: Tensor, first: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Shuffle all integers of the crowded buckets and keep the first ``want`` of each, in no order."""
    sizes = free[buckets]
    bucket = torch.repeat_interleave(buckets, sizes)
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    rank = torch.arange(bucket.numel()) - starts
    order = torch.argsort(torch.rand(bucket.numel(), dtype=torch.float64, generator=generator))
    order = order[torch.argsort(bucket[order], stable=True)]
    chosen = order[rank < want[bucket]]  # within a bucket, `rank` also numbers the shuffled order
    return first[bucket[chosen]] + rank[chosen]


def _reject(
    buckets: Tensor, free: Tensor, want: Tensor, first: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw with replacement, again for the repeats; ascending. At most half of a bucket is wanted, so few rounds."""
    size, start = free[buckets], first[buckets]
    chosen = torch.empty(0, dtype=torch.int64)
    need = want[buckets].clone()
    while int(need.sum()) > 0:
        local = torch.repeat_interleave(torch.arange(buckets.numel()), need)
        draw = torch.rand(local.numel(), dtype=torch.float64, generator=generator)
        room = size[local]
        key = torch.minimum(draw.mul_(room).long(), room.sub_(1)).add_(start[local])
        del local, draw, room
        chosen = torch.unique(torch.cat([chosen, key]))
        owner = torch.searchsorted(start, chosen, right=True) - 1
        need = want[buckets] - torch.bincount(owner, minlength=buckets.numel())
    return chosen


def free_positions(taken: Tensor, bucket: Tensor, rank: Tensor, bucket_size: int) -> Tensor:
    """Turn "the rank-th free slot of a bucket" into a position.

    Args:
        taken: [n], int64 - occupied positions, ascending.
        bucket: [k], int64 - bucket of each wanted slot.
        rank: [k], int64 - which free slot of that bucket.
        bucket_size: int - positions per bucket.
    Returns:
        [k], int64 - the positions.
    Cost: O((n + k) log n) time, O(n + k) memory.
    Example:
        >>> free_positions(torch.tensor([0, 2, 5]), torch.tensor([0, 1]), torch.tensor([1, 0]), 4).tolist()
        [3, 4]
    """
    begin = bucket * bucket_size
    free_rank = begin - torch.searchsorted(taken, begin) + rank  # counted over the whole layer
    free_before = taken - torch.arange(taken.numel())  # free slots in front of each taken one, ascending
    return free_rank + torch.searchsorted(free_before, free_rank, right=True)
