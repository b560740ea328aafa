"""Optimizer steps of masked layers in which connections that do not exist take part; see ``rules.through``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from gossamer.errors import FormatError
from gossamer.nn.masked import Masked
from gossamer.nn.sparse import SparseModule
from gossamer.rules import LayerView, Rule
from gossamer.rules.through import Through
from gossamer.training.contract import checked_memory, checked_values, checked_whole


class WholeSteps:
    """Shows an optimizer the weights of all positions during its step, and the layer those in use at all other times.

    Args:
        rule: a Rule that is Through.
    Cost: a few copies of the dense weight a step, on the CPU.
    """

    def __init__(self, rule: Any) -> None:
        self._rule: Rule = rule
        self._through: Through = rule
        self.trained = self._through.trained  # whether the optimizer trains absent connections
        self._open: dict[str, tuple[Masked, LayerView, Tensor]] = {}  # with the weights as they were

    def seen(self, view: LayerView) -> LayerView:
        """A view whose state holds the weights of all positions as they are now."""
        state = view.state or self._rule.new_state(view)
        size = view.topology.grid.size, view.topology.grid.members
        if tuple(state["whole"].shape) != size:
            raise FormatError(
                f"what {self._rule.name} remembers of {view.name}",
                expected=f"weights {size}, one for each position",
                got=str(tuple(state["whole"].shape)),
                hint="load a checkpoint of this network",
            )
        if not self.trained:
            whole = state["whole"].to(view.values, copy=True)
            whole[view.positions] = view.values
            state = {**state, "whole": whole}
        return replace(view, state=state)

    def open(self, layers: Mapping[str, tuple[SparseModule, LayerView]]) -> None:
        """Before a step: let the rule make the gradients of all positions, and let the optimizer see their weights."""
        found = {}
        for name, (module, view) in layers.items():
            layer = cast("Masked", module)
            if (gradient := layer.weights.grad) is None:
                continue
            units = layer.every_unit(gradient)
            new = checked_whole(self._rule, view, self._through.before_whole_step(view, units), units)
            checked_memory(self._rule, name, view.state)
            found[name] = layer, view, new
        for name, (layer, view, new) in found.items():
            self._open[name] = layer, view, layer.weights.detach().clone()
            gradient = cast("Tensor", layer.weights.grad)
            layer.fill(gradient, new)
            if self.trained:
                layer.fill(layer.weights, view.state["whole"])
            else:
                gradient.masked_fill_(~layer.mask, 0)

    def close(self) -> dict[str, dict[str, Any]]:
        """After a step: what the rule remembers of each layer; the layers show the weights that are in use again."""
        remembered = {}
        for name, (layer, view, _) in self._open.items():
            state = checked_memory(self._rule, name, view.state)
            if self.trained:
                state["whole"] = layer.every_unit(layer.weights).clone()
                shown = checked_values(self._rule, replace(view, state=state), view.positions)
                layer.weights.zero_()
                layer.place(layer.weights, cast("Tensor", shown))
            remembered[name] = state
        self._open.clear()
        return remembered

    def undo(self) -> None:
        """Without a step: the layers are as they were."""
        for layer, _, before in self._open.values():
            layer.weights.copy_(before)
        self._open.clear()
