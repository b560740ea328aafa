"""What a rule sees of a layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError, StateError
from gossamer.patterns import Pattern
from gossamer.topology import TileScores, Topology


class Stored(Protocol):
    """What is kept for every connection beside its weight."""

    def gradients(self) -> Tensor | None:
        """[units, members]: gradient of the weights."""

    def moment(self, name: str) -> Tensor | None:
        """[units, members]: optimizer state."""

    def rate(self) -> float | None:
        """Learning rate of the step just made."""


@dataclass(frozen=True)
class LayerView:
    """What a rule sees of a layer, the same in both homes (packed, masked).

    Args:
        name: str - name of the layer in its model.
        topology: Topology - the connections before the update.
        capacity: int - the layer's budget in units.
        values: [units, members], float - weights in topology order.
        gradient: TileScores or None - absolute dense gradient by tiles; only for rules that declare it.
        generator: torch.Generator - for every random choice.
        is_output: bool - the layer's neurons are the model's outputs and may not be ablated.
        step, total_steps: int - when the update happens, and steps of the whole training.
        home: str - "packed" or "masked": a masked layer has memory for connections that it does not have.
        source, reader: LayerView or None - the sparse layers that alone give this one's inputs and read its outputs,
            where that is known; without the dense gradient, and neighbours of their own.
        stored: Stored or None - what else the step knows of the layer: read by ``gradients``, ``moment`` and ``rate``.
        state: dict - what the rule remembers of the layer, see ``Rule.new_state``.
    """

    name: str
    topology: Topology
    capacity: int
    values: Tensor
    gradient: TileScores | None
    generator: torch.Generator
    is_output: bool = False
    step: int = 0
    total_steps: int = 0
    home: str = "packed"
    source: LayerView | None = None
    reader: LayerView | None = None
    stored: Stored | None = None
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def positions(self) -> Tensor:
        """[units], int64."""
        return self.topology.positions

    @property
    def pattern(self) -> Pattern:
        """The pattern."""
        return self.topology.pattern

    @property
    def gradients(self) -> Tensor:
        """[units, members]: gradient of the existing connections in the step just made, in topology order.

        Raises:
            StateError: there is none, as after an update asked for by hand or with an optimizer that clears it.
            NonFiniteError: it is NaN or infinite.
        """
        found = None if self.stored is None else self.stored.gradients()
        if found is None:
            raise StateError(
                f"gradients of {self.name}",
                expected="the gradient of the step just made",
                got="none",
                hint="call zero_grad before the next backward pass, not inside of optimizer.step()",
            )
        return self._finite(found, "gradients")

    def moment(self, name: str) -> Tensor | None:
        """[units, members]: optimizer state of the existing connections by its name in torch, None without such state.

        Args:
            name: str - e.g. "momentum_buffer" (SGD), "exp_avg" (Adam).
        """
        return None if self.stored is None else self.stored.moment(name)

    @property
    def rate(self) -> float:
        """The optimizer's learning rate for this layer in the step just made; raises StateError where it has none."""
        found = None if self.stored is None else self.stored.rate()
        if found is None:
            raise StateError(
                f"learning rate of {self.name}",
                expected='an optimizer with "lr" in its parameter groups',
                got="none",
                hint="use an optimizer of torch.optim",
            )
        return found

    def largest(self) -> Tensor:
        """[units]: largest absolute weight among the members of a unit; raises NonFiniteError."""
        return self._finite(self.values.abs().amax(1), "weights")

    def magnitude(self) -> Tensor:
        """[units]: absolute weight, summed over the members of a unit; raises NonFiniteError."""
        return self._finite(self.values.abs().sum(1), "weights")

    def _finite(self, numbers: Tensor, what: str) -> Tensor:
        if not bool(torch.isfinite(numbers).all()):
            raise NonFiniteError(
                "topology update",
                expected=f"finite {what} in {self.name}",
                got="NaN or infinity",
                hint="lower the learning rate or clip gradients; nothing was changed",
            )
        return numbers
