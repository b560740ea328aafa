"""LAMP: magnitudes that can be compared across layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.compress.scores.base import Score, Task, scores


@scores.register("lamp")
@dataclass(frozen=True, kw_only=True)
class LAMP(Score):
    """A weight's square over the sum of all squares that are not smaller, within its layer.

    The largest of every layer scores 1, so that a global ranking empties no layer before all others are down to one.

    Cost: a sort of every layer.
    Source: Lee et al. 2021, layer-adaptive magnitude-based pruning.
    Example:
        >>> lamp(torch.tensor([1.0, -2.0, 3.0])).tolist()
        [0.0714285746216774, 0.3076923191547394, 1.0]
    """

    allocation: ClassVar[str] = "global"

    def of(self, task: Task) -> dict[str, Tensor]:
        """Layer by layer."""
        return {name: lamp(weights) for name, weights in task.weights.items()}


def lamp(weights: Tensor) -> Tensor:
    """The scores of one layer's weights, of their shape."""
    squares = weights.detach().flatten().double().square().cpu()
    ascending, order = squares.sort(stable=True)
    left = ascending.flip(0).cumsum(0).flip(0)
    found = torch.empty_like(squares)
    found[order] = torch.where(left > 0, ascending / left, 0.0)
    return found.to(weights.dtype).view(weights.shape)
