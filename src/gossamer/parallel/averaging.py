"""The end of WASAP-SGD: several networks with topologies of their own become one of the old size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gossamer.topology import Topology, top_mask, top_mask_in_buckets


def average(models: Sequence[tuple[Topology, Tensor]]) -> tuple[Topology, Tensor]:
    """The mean of one layer over several networks; where one has no connection it counts as zero.

    Args:
        models: of (Topology, [>= connections] values in its order) - of the same layer.
    Returns:
        (Topology, values): of all connections that any of them has; exact in float64 before one rounding.
    Cost: O(n log n) in the connections of all.
    Source: Curci et al. 2021: division by the number of workers, not of those that hold a connection.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a, b = (Topology(Unstructured(), (1, 4), torch.tensor(p)) for p in ([0, 2], [2, 3]))
        >>> mean = average([(a, torch.tensor([1., 2.])), (b, torch.tensor([4., -8.]))])
        >>> mean[0].positions.tolist(), mean[1].tolist()
        ([0, 2, 3], [0.5, 3.0, -4.0])
    """
    first, values = models[0]
    members = first.grid.members
    positions = torch.cat([topology.positions for topology, _ in models]).unique()
    total = torch.zeros(positions.numel(), members, dtype=torch.float64)
    for topology, own in models:
        units = own[: topology.connections].view(-1, members).double()
        total.index_add_(0, torch.searchsorted(positions, topology.positions), units)
    mean = (total / len(models)).to(values.dtype).view(-1)
    return Topology(first.pattern, first.shape, positions), mean


def thinned(topology: Topology, values: Tensor, like: Topology) -> tuple[Topology, Tensor]:
    """Remove the connections closest to zero until every bucket holds as many as another topology's.

    Where the whole layer is one bucket, the same share of the positive and of the negative connections goes, as in SET.

    Args:
        topology: Topology - with too many connections.
        values: [connections] - in its order.
        like: Topology - of the same layer; says how many stay in each bucket.
    Returns:
        (Topology, values).
    Cost: O(n log n) in connections.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> wide, narrow = (Topology(Unstructured(), (1, 6), torch.arange(n)) for n in (6, 3))
        >>> kept, values = thinned(wide, torch.tensor([1., -1., 2., -2., 3., -3.]), narrow)
        >>> kept.positions.tolist(), values.tolist()
        ([3, 4, 5], [-2.0, 3.0, -3.0])
    """
    grid, pattern = topology.grid, topology.pattern
    units = values.view(-1, grid.members)
    bucket = pattern.bucket(grid)
    if bucket == grid.size:
        mask = _balanced(units, like.positions.numel())
    else:
        stay = pattern.count(like.positions, grid)
        mask = top_mask_in_buckets(units.abs().sum(1), topology.positions // bucket, stay)
    kept = Topology(pattern, topology.shape, topology.positions[mask])
    pattern.validate(kept.positions, grid)
    return kept, units[mask].reshape(-1)


def _balanced(units: Tensor, stay: int) -> Tensor:
    """[units], bool: ``stay`` of them, the same share of each sign."""
    magnitude, negative = units.abs().sum(1), units.sum(1) < 0
    total = magnitude.numel()
    surplus = max(0, total - stay)
    fewer = surplus * int(negative.sum()) // max(1, total)
    mask = torch.zeros(total, dtype=torch.bool)
    for side, removed in ((negative, fewer), (~negative, surplus - fewer)):
        mask[side] = top_mask(magnitude[side], int(side.sum()) - removed)
    return mask
