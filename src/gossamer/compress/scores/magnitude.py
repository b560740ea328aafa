"""Magnitude: a large weight is worth more."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gossamer.compress.scores.base import Score, Task, scores


@scores.register("magnitude")
@dataclass(frozen=True, kw_only=True)
class Magnitude(Score):
    """The absolute value; a unit of several weights scores their sum.

    Cost: O(weights).
    Source: Han et al. 2015; Zhu and Gupta 2017.
    Example:
        >>> Magnitude().needs
        frozenset()
    """

    def of(self, task: Task) -> dict[str, Tensor]:
        """|w|."""
        return {name: weights.abs() for name, weights in task.weights.items()}
