"""Which units go: exact counts, ties by order, and no group loses everything."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from gossamer.compress.structured.members import Followed
    from gossamer.layouts.arrays import Array


class Shares(NamedTuple):
    """How much stays.

    Args:
        keep: Fraction - of all units, or of those of each group.
        allocation: "uniform", of each group, or "global".
        floor: Fraction - of each group, at least.
        round_to: int - channels that stay in a group are a multiple of it.
    """

    keep: Fraction
    allocation: str
    floor: Fraction
    round_to: int


def chosen(followed: Followed, scores: Array, shares: Shares) -> Array:
    """[units], bool: those that go.

    Args:
        followed: Followed.
        scores: [units], float64; units of infinite worth stay, whatever the shares say.
        shares: Shares.

    Cost: O(units * log).
    """
    goes = np.zeros(scores.size, bool)
    if shares.allocation == "uniform":
        for group in followed.groups:
            goes[_weakest(group, scores, group.size - max(1, ceil(shares.keep * group.size)))] = True
    else:
        goes = _weakest_of_all(followed, scores, shares)
    for group in followed.groups:
        step = shares.round_to // gcd(shares.round_to, _width(followed, int(group[0])))
        left = group.size - int(goes[group].sum())
        wanted = min(group.size, ceil(Fraction(left, step)) * step)
        goes[group] = False
        goes[_weakest(group, scores, group.size - wanted)] = True
    return goes


def _weakest(group: Array, scores: Array, count: int) -> Array:
    """The units that go of a group; of equals the first, and none of infinite worth."""
    order = group[np.argsort(scores[group], kind="stable")][:count]
    weakest: Array = order[np.isfinite(scores[order])]
    return weakest


def _weakest_of_all(followed: Followed, scores: Array, shares: Shares) -> Array:
    """The weakest units of the network; a group at its floor loses no more."""
    goes = np.zeros(scores.size, bool)
    group_of = np.zeros(scores.size, np.int64)
    for number, group in enumerate(followed.groups):
        group_of[group] = number
    spare = np.array([group.size - max(1, ceil(shares.floor * group.size)) for group in followed.groups])
    count = scores.size - ceil(shares.keep * scores.size)
    for unit in np.argsort(scores, kind="stable").tolist():
        if count and np.isfinite(scores[unit]) and spare[group_of[unit]] > 0:
            goes[unit] = True
            count -= 1
            spare[group_of[unit]] -= 1
    return goes


def _width(followed: Followed, unit: int) -> int:
    """Channels that a unit is in the first layer that computes it."""
    counts = (int((member.outputs == unit).sum()) for member in followed.layers.values())
    return next(count for count in counts if count)
