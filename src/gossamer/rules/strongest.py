"""Which units stay when a share of them goes: the largest scores of a layer, or of all layers together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import TrainingWarning
from gossamer.patterns import NM, Pattern
from gossamer.patterns.base import select, whole
from gossamer.topology import Topology, top_mask, top_mask_in_buckets

SCOPES = ("layer", "global")


@dataclass(frozen=True)
class Candidates:
    """Units of a layer that may stay.

    Args:
        name: str - of the layer.
        topology: Topology - as it is now.
        positions: [n], int64 - ascending.
        scores: [n], float - finite; of two equal ones the first is the larger.
    """

    name: str
    topology: Topology
    positions: Tensor
    scores: Tensor

    def best(self, units: int) -> Tensor:
        """[at most n], int64: the positions of so many units, shared among buckets as the pattern demands."""
        pattern, grid = self.topology.pattern, self.topology.grid
        bucket = pattern.bucket(grid)
        if bucket == grid.size:
            return select(self.positions, top_mask(self.scores, min(units, self.scores.numel())))
        quotas = pattern.quotas(max(units, grid.size // bucket), grid)
        return select(self.positions, top_mask_in_buckets(self.scores, self.positions // bucket, quotas))


def stay(units: int, share: float) -> int:
    """How many of so many units are left when a share is gone: one at least.

    Example:
        >>> stay(10, 0.29), stay(10, 1.0)
        (8, 1)
    """
    return max(1, units - whole(share * units))


def fixed_counts(pattern: Pattern) -> str:
    """Why a share of a layer cannot go under a pattern, or an empty string."""
    if not isinstance(pattern, NM):
        return ""
    return f"{pattern} fixes how many connections a layer has: use Unstructured(), Block(h, w) or FanIn(), or SRSTE"


def strongest(found: Sequence[Candidates], share: float, scope: str) -> dict[str, Tensor]:
    """What stays of layers when a share of all their units is gone, those that went before included.

    Args:
        found: candidates, one a layer. No layer gets more units than it has now, and each keeps one.
        share: float in [0, 1] - of the units of the grid.
        scope: "layer" - of every layer; "global" - of all layers together.
    Returns:
        name -> [units], int64, ascending.
    Cost: O(candidates); O(n log n) where neurons have quotas of their own.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> row = Topology(Unstructured(), (1, 4), torch.arange(4))
        >>> one = Candidates("a", row, row.positions, torch.tensor([1., 4., 3., 2.]))
        >>> strongest([one], 0.5, "layer")["a"].tolist()
        [1, 2]
    """
    if scope == "global":
        return _of_all(found, share)
    return {
        each.name: each.best(min(stay(each.topology.grid.size, share), each.topology.positions.numel()))
        for each in found
    }


def _of_all(found: Sequence[Candidates], share: float) -> dict[str, Tensor]:
    """The largest of all layers; the largest of a layer that would lose all of them takes the place of the smallest."""
    found = [each for each in found if each.positions.numel()] or list(found)
    now = sum(each.topology.positions.numel() for each in found)
    wanted = max(min(stay(sum(each.topology.grid.size for each in found), share), now), len(found))
    scores = torch.cat([each.scores.double() for each in found])
    sizes = [each.scores.numel() for each in found]
    for each, chosen in zip(found, top_mask(scores, min(wanted, scores.numel())).split(sizes), strict=True):
        if chosen.numel() and not bool(chosen.any()):
            warnings.warn(
                f"{each.name} would lose all its connections: the others are larger; its largest unit stays",
                TrainingWarning,
                stacklevel=2,
            )
    ahead = scores.max() + 1 if scores.numel() else 0
    for part in scores.split(sizes):
        if part.numel():
            part[part.argmax()] = ahead
    kept = top_mask(scores, min(wanted, scores.numel())).split(sizes)
    return {each.name: select(each.positions, mask) for each, mask in zip(found, kept, strict=True)}
