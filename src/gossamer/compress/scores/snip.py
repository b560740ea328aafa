"""SNIP: what the loss would change by if a weight were gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.compress.batches import pair_of
from gossamer.compress.scores.base import Score, Task, gradients_of, scores
from gossamer.compress.untouched import untouched


@scores.register("snip")
@dataclass(frozen=True, kw_only=True)
class SNIP(Score):
    """|g * w|, with the gradient summed over all batches; batch norm by its stored statistics.

    The weights that were scored are kept; the authors' code draws new ones.

    Cost: a forward and backward pass a batch.
    Source: Lee et al. 2019.
    Example:
        >>> sorted(SNIP().needs)
        ['data', 'targets']
    """

    allocation: ClassVar[str] = "global"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "targets"})

    def of(self, task: Task) -> dict[str, Tensor]:
        """Signed sums first, then absolute values."""
        weights = task.weights
        total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        with untouched(task.model, False, task.parameters.values()):
            for batch in task.batches:
                inputs, targets = pair_of(batch, "prune(data=)")
                for name, gradient in gradients_of(task, task.loss(task.model(inputs), targets)).items():
                    total[name] += gradient
        return {name: (total[name] * tensor).abs() for name, tensor in weights.items()}
