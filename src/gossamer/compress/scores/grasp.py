"""GraSP: which weights the flow of gradients needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.compress.batches import pair_of
from gossamer.compress.scores.base import Score, Task, gradients_of, scores
from gossamer.compress.untouched import untouched
from gossamer.errors import ConfigError


@scores.register("grasp")
@dataclass(frozen=True, kw_only=True)
class GraSP(Score):
    """w * Hg: the larger, the more the norm of the gradient would fall without the weight.

    Each batch is cut into halves, of which one gives g and the other the product; batch norm uses their statistics.
    Take batches of balanced classes, ten samples of each in the paper.

    Args:
        temperature: float > 0 - outputs are divided by it before the loss.
    Cost: four passes a batch, two of them with a graph of the gradient.
    Source: Wang et al. 2020; the score here is theirs with the opposite sign, since here the largest stay.
    Example:
        >>> GraSP().temperature
        200.0
    """

    temperature: float = 200.0
    allocation: ClassVar[str] = "global"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "targets"})

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError("GraSP(temperature=)", expected="a positive number", got=repr(self.temperature))

    def of(self, task: Task) -> dict[str, Tensor]:
        """Both products of the halves, summed."""
        weights = task.weights
        halves = [half for batch in task.batches for half in _halves(*pair_of(batch, "prune(data=)"))]
        with untouched(task.model, True, task.parameters.values()):
            first = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
            for half in halves:
                for name, gradient in gradients_of(task, self._loss(task, *half)).items():
                    first[name] += gradient
            product = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
            for half in halves:
                second = gradients_of(task, self._loss(task, *half), create_graph=True)
                along = torch.stack([(second[name] * first[name]).sum() for name in second]).sum()
                for name, gradient in gradients_of(task, along).items():
                    product[name] += gradient
        return {name: tensor * product[name] for name, tensor in weights.items()}

    def _loss(self, task: Task, inputs: Any, targets: Any) -> Tensor:
        return task.loss(task.model(inputs) / self.temperature, targets)


def _halves(inputs: Any, targets: Any) -> list[tuple[Any, Any]]:
    """Two halves of a batch; raises ConfigError where there is one sample."""
    if len(inputs) < 2:
        raise ConfigError(
            "prune(score='grasp')", expected="batches of at least two samples", got=str(len(inputs))
        )
    middle = (len(inputs) + 1) // 2
    return [(inputs[:middle], targets[:middle]), (inputs[middle:], targets[middle:])]
