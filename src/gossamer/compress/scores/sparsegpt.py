"""SparseGPT: weights whose loss the others of their row can make up for, and those others after they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from gossamer.compress.calibrating import Flow
from gossamer.compress.matrices import matrix_of, weights_from
from gossamer.compress.scores.base import Score, Task, scores
from gossamer.compress.sequence import check_order, densities_for, in_order
from gossamer.compress.sweep import Chooser, factor_of, swept
from gossamer.errors import ConfigError, GossamerError
from gossamer.nn import SparseModule
from gossamer.nn.kinds import matrix_shape
from gossamer.nn.twin import check_fit


@scores.register("sparsegpt")
@dataclass(frozen=True, kw_only=True)
class SparseGPT(Score):
    """Columns are pruned from left to right, and what an output loses is put right by the columns that follow.

    Of a block of columns those weights go whose removal costs least, w^2 / U_ii^2, with U the upper Cholesky factor of
    the inverse of X^T X. Under an N:M pattern a tile is decided when its first column is reached. The weights that
    stay are changed. An input that is always zero loses its weights.

    Args:
        block: int >= 1 - columns that are decided together where the pattern has no tiles.
        damping: float >= 0 - share of the mean of the diagonal of X^T X that is added to it; some is needed where
            there are fewer samples than inputs.
        order: "blocks", "layers" or "once" - which layers are pruned before the inputs of the next are read: those of
            earlier blocks of the model, all earlier layers, or none.
    Cost: in^3 + out * in^2 operations a layer, float64 up to 4096 inputs; for each batch a forward pass, and one up
        to each block of layers; with ``allocation="global"`` one more.
    Source: Frantar and Alistarh 2023. Counts are exact for the layer (for each row, or group of rows, under FanIn); a
        block's share of them is rounded.
    Example:
        >>> SparseGPT().block, SparseGPT().damping
        (128, 0.01)
    """

    block: int = 128
    damping: float = 0.01
    order: str = "blocks"
    allocation: ClassVar[str] = "uniform"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    updates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_order("SparseGPT", self.order)
        if isinstance(self.block, bool) or not isinstance(self.block, int) or self.block < 1:
            raise ConfigError("SparseGPT(block=)", expected="an integer from 1", got=repr(self.block))
        if not 0 <= self.damping < float("inf"):
            raise ConfigError("SparseGPT(damping=)", expected="a number from 0", got=repr(self.damping))

    def of(self, task: Task) -> dict[str, Tensor]:
        """1 where a weight stays, and 0 elsewhere; the weights themselves go to ``task.updated``."""
        weights = task.weights

        def salience(name: str, flow: Flow) -> tuple[Tensor, Tensor]:
            layer, own = task.layers[name], weights[name]
            factor, _ = self._factor(name, flow)
            diagonal = factor.square().sum(1).unsqueeze(1)
            matrix = matrix_of(layer, own).to(factor).unflatten(0, (len(factor), -1))
            return weights_from(layer, (matrix.square() / diagonal).flatten(0, 1), own), own

        density = densities_for(task, salience, products=True)

        def decide(name: str, flow: Flow) -> tuple[Tensor, Tensor]:
            layer, own = task.layers[name], weights[name]
            found, keep = self._pruned(name, layer, own, flow, density[name], task)
            task.updated[name] = weights_from(layer, found, own).to(own.dtype)
            return weights_from(layer, keep.float(), own), task.updated[name]

        return in_order(task, self.order, decide, products=True)

    def _pruned(
        self, name: str, layer: Any, weights: Tensor, flow: Flow, density: float, task: Task
    ) -> tuple[Tensor, Tensor]:
        """The weights of a layer after the sweep, as a matrix, and which of them stay."""
        sparse = isinstance(layer, SparseModule)
        if not sparse and density == 1:
            matrix = matrix_of(layer, weights)
            return matrix, torch.ones_like(matrix, dtype=torch.bool)
        pattern = layer.pattern if sparse else task.pattern
        if not sparse:
            check_fit(name, layer, density, pattern, "prune")
        factor, dead = self._factor(name, flow)
        matrix = matrix_of(layer, weights).to(factor).unflatten(0, (len(factor), -1))
        matrix = matrix.masked_fill(dead.unsqueeze(1), 0).flatten(0, 1)
        shape = matrix_shape(layer)
        grid = pattern.grid(shape)
        there = layer.topology.mask() if sparse else matrix_of(layer, weights) != 0
        alive = pattern.units(there.cpu(), grid).any(1).view(grid.rows, grid.cols)
        chooser = Chooser(pattern, grid, pattern.budget(density, shape), alive)
        return swept(matrix, factor, chooser, self.block)

    def _factor(self, name: str, flow: Flow) -> tuple[Tensor, Tensor]:
        """U and the dead inputs of a layer."""
        try:
            return factor_of(cast("Tensor", flow.products).cpu(), self.damping)
        except GossamerError as error:
            raise error.within(f"prune {name}") from None
