"""The search of an order: swaps by how much more of the scores is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gossamer.compress.permuting.sides import LEAST, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

WORK = 1 << 26  # features looked at in a pass over all pairs; a sample of them is, where there are more
SMALL = 1e-9  # share of what is kept below which a gain is rounding
PASSES = 100


def search(sides: Sequence[Side], generator: torch.Generator) -> Tensor:
    """Swap items of different groups while more is kept; what is kept never falls.

    Each pass estimates the gains of all pairs, of which only those of changed groups are new, and goes through them
    from the largest on; pairs with a group that changed in this pass wait for the next one. Every swap is checked on
    all features before it is made.

    Args:
        sides: of Side - of one number of slots; slot ``i`` of one is moved with slot ``i`` of the others.
        generator: torch.Generator - draws features where there are too many.
    Returns:
        [n], int64 - for each slot, the one whose item it holds now.
    Cost: O(n ** 2 * features) for the first pass, or the sample; later passes look at changed groups alone.
    Source: Pool and Yu 2021, channel permutations; their search, for any function of what is kept.
    Example:
        >>> from gossamer.compress.permuting.sides import Each
        >>> row = torch.tensor([8.0, 7, 6, 5, 1, 2, 3, 4]).view(8, 1)
        >>> side = Each(row, 4, torch.arange(8), 2)
        >>> order = search([side], torch.Generator().manual_seed(0))
        >>> float(side.kept(side.values.view(2, 4, 1)).sum())
        26.0
    """
    n = sides[0].slots.numel()
    order = torch.arange(n)
    stale, seen = torch.ones(n, dtype=torch.bool), [_seen(side, len(sides), generator) for side in sides]
    tables = [torch.zeros(n, n, dtype=side.values.dtype) for side in sides]
    for _ in range(PASSES):
        gains = torch.zeros(n, n, dtype=torch.float64)
        for side, part, table in zip(sides, seen, tables, strict=True):
            gains += _gains(part, table, stale) * (side.values.shape[1] / part.values.shape[1])
        swaps = _chosen(sides, gains)
        stale = torch.zeros(n, dtype=torch.bool)
        for a, b in swaps:
            order[[a, b]] = order[[b, a]]
            for side in {id(each): each for each in (*sides, *seen)}.values():
                side.swap(a, b)
            stale |= _touched(sides, a) | _touched(sides, b)
        if not swaps:
            break
    return order


def _seen(side: Side, often: int, generator: torch.Generator) -> Side:
    """The side with as many features as a pass may look at, or itself."""
    n, features = side.slots.numel(), side.values.shape[1]
    count = max(LEAST, WORK // (n * n * often))
    if features <= count:
        return side
    return side.sampled(torch.randperm(features, generator=generator)[:count].sort().values)


def _gains(side: Side, table: Tensor, stale: Tensor) -> Tensor:
    """[n, n]: what each swap would add; the table holds what is kept of a row's group with a column's item in it."""
    new = stale.nonzero().squeeze(1)
    every = torch.arange(stale.numel())
    for slot in range(stale.numel()):
        others = every if bool(stale[slot]) else new
        if others.numel():
            table[slot, others] = side.replaced(slot, others)
    now, groups = side.now(), side.groups
    gains = table + table.T - now[:, None] - now
    return gains.masked_fill_(groups[:, None] == groups, 0.0)


def _chosen(sides: Sequence[Side], gains: Tensor) -> list[tuple[int, int]]:
    """Swaps of untouched groups that keep more, those first that seem to gain most."""
    n = gains.shape[0]
    least = SMALL * max(1e-300, abs(float(sum(side.now().sum() for side in sides))))
    free, found, failed = [True] * n, list[tuple[int, int]](), 0
    upper = gains.triu(1).flatten()
    able = (upper > least).nonzero().squeeze(1)
    for pair in able[upper[able].argsort(descending=True, stable=True)].tolist():
        a, b = divmod(pair, n)
        if not (free[a] and free[b]):
            continue
        if sum(side.gain(a, b) for side in sides) > least:
            found.append((a, b))
            for slot in (_touched(sides, a) | _touched(sides, b)).nonzero().flatten().tolist():
                free[slot] = False
        else:
            failed += 1  # a sample of the features was wrong about it
        if failed > n or not any(free):
            break
    return found


def _touched(sides: Sequence[Side], slot: int) -> Tensor:
    """[n], bool: slots that share a group with one."""
    found = torch.zeros(sides[0].slots.numel(), dtype=torch.bool)
    for side in sides:
        found |= side.groups == side.groups[slot]
    return found
