"""What an optimizer step leaves of a layer: gradient, optimizer state and learning rate, as a rule reads them."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from gossamer.nn import SparseModule


class StepState:
    """What a step left of one layer, in topology order, the same from both homes; see ``rules.Stored``."""

    def __init__(self, layer: SparseModule, optimizer: Optimizer) -> None:
        self._layer, self._optimizer = layer, optimizer

    def gradients(self) -> Tensor | None:
        """[units, members], on the CPU."""
        gradient = self._layer.weights.grad
        return None if gradient is None else self._layer.unit_values(gradient)

    def moment(self, name: str) -> Tensor | None:
        """[units, members], on the CPU."""
        weights = self._layer.weights
        state = self._optimizer.state.get(weights, {}).get(name)
        fits = isinstance(state, Tensor) and state.shape == weights.shape
        return self._layer.unit_values(state) if fits else None

    def rate(self) -> float | None:
        """Of the parameter group that holds the weights."""
        weights = self._layer.weights
        groups = (g for g in self._optimizer.param_groups if any(p is weights for p in g["params"]))
        rate = next(groups, {}).get("lr")
        return None if rate is None else float(rate)
