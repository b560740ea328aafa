"""Wanda: a weight times the norm of what flows through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.compress.calibrating import Flow
from gossamer.compress.matrices import matrix_of, weights_from
from gossamer.compress.ranking import kept, prepared
from gossamer.compress.scores.base import Score, Task, scores
from gossamer.compress.sequence import check_order, densities_for, in_order


@scores.register("wanda")
@dataclass(frozen=True, kw_only=True)
class Wanda(Score):
    """|w| * ||x||, with the norm of the weight's input over all samples; weights stay as they are.

    Its authors compare within a row, which is ``pattern="fanin"``.

    Args:
        order: "blocks", "layers" or "once" - which layers are pruned before the inputs of the next are read: those of
            earlier blocks of the model, all earlier layers, or none.
    Cost: for each batch a forward pass, and one up to each block of layers; with ``allocation="global"`` one more.
    Source: Sun et al. 2023, equation 1.
    Example:
        >>> Wanda().order
        'blocks'
    """

    order: str = "blocks"
    allocation: ClassVar[str] = "uniform"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    def __post_init__(self) -> None:
        check_order("Wanda", self.order)

    def of(self, task: Task) -> dict[str, Tensor]:
        """Block after block."""
        weights = task.weights

        def score(name: str, flow: Flow) -> Tensor:
            layer, own = task.layers[name], weights[name]
            return weights_from(layer, times_norms(matrix_of(layer, own), flow), own)

        density = densities_for(task, lambda name, flow: (score(name, flow), weights[name]))

        def decide(name: str, flow: Flow) -> tuple[Tensor, Tensor]:
            layer, own = task.layers[name], weights[name]
            found = score(name, flow)
            ranked = prepared(name, layer, found, own, task.pattern)
            return found, own * kept(name, layer, ranked, density[name], task.pattern).to(own.device)

        return in_order(task, self.order, decide)


def times_norms(matrix: Tensor, flow: Flow) -> Tensor:
    """[out, in], float64: the absolute weights, each times the norm of its input."""
    norms = flow.norms.to(matrix.device).unsqueeze(1)
    return (matrix.abs().double().reshape(len(norms), -1, matrix.shape[1]) * norms).flatten(0, 1)
