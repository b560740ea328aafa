"""Random: the baseline that every other score has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.compress.scores.base import Score, Task, scores


@scores.register("random")
@dataclass(frozen=True, kw_only=True)
class Random(Score):
    """Uniform numbers, whatever the weights are.

    Cost: O(weights).
    Example:
        >>> Random().allocation
        'erk'
    """

    def of(self, task: Task) -> dict[str, Tensor]:
        """Draws of the generator."""
        return {
            name: torch.rand(weights.shape, generator=task.generator, dtype=torch.float64)
            for name, weights in task.weights.items()
        }
