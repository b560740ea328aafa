"""The smallest topology of a pattern that holds given connections."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import PatternError
from gossamer.patterns import Pattern
from gossamer.topology.topology import Topology

LARGEST_SHARE = 0.01  # of zeros among connections, where a pattern could do without


def covering(mask: Tensor, pattern: Pattern) -> Topology:
    """The connections of a mask as a topology of a pattern.

    A pattern with a fixed number in every bucket, as N:M, is filled up with the first zeros of a bucket. Others
    may hold one zero in a hundred connections: more of them, and the zeros are not of this pattern.

    Args:
        mask: [out_features, in_features] - nonzero where a connection is.
        pattern: Pattern.
    Returns:
        Topology.
    Raises:
        PatternError: connections that the pattern does not allow, or a layer that it does not divide.
    Cost: O(dense size).
    Example:
        >>> from gossamer.patterns import NM
        >>> covering(torch.tensor([[0, 1, 0, 0, 1, 0, 1, 0]]), NM(2, 4)).positions.tolist()
        [0, 1, 4, 6]
    """
    shape = (mask.shape[0], mask.shape[1])
    grid = pattern.grid(shape)
    held = pattern.units(mask != 0, grid).any(1).view(-1, pattern.bucket(grid))
    counts = held.sum(1)
    full = pattern.quotas(int(counts.max()) * len(counts), grid)
    if bool((counts > full).any()):
        got = f"{int(counts.max())} of {held.shape[1]} in one place, where {int(full.max())} fit"
        raise PatternError(str(pattern), expected="zeros of this pattern", got=got)
    want = counts
    for number in (torch.where(counts > 0, full, 0), full):
        if pattern.check_counts(want, grid):
            want = number
    order = held.byte().argsort(dim=1, descending=True, stable=True)
    first = torch.arange(held.shape[1]) < want.unsqueeze(1)
    rows = torch.arange(len(held)).unsqueeze(1) * held.shape[1]
    topology = Topology(pattern, shape, (rows + order)[first].sort().values)
    zeros = topology.connections - int((mask != 0).sum())
    if (
        not bool(pattern.check_counts(torch.zeros_like(counts), grid))
        and zeros > LARGEST_SHARE * topology.connections
    ):
        got = f"{zeros:,} zeros among the {topology.connections:,} connections that it would need"
        raise PatternError(
            str(pattern), expected="zeros of this pattern", got=got, hint="the pattern may be another"
        )
    return topology
