"""Rules that let gradients through to connections that a masked layer does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.rules.view import LayerView


class Through:
    """What such a rule is beside a Rule: the gradient of a masked layer's weight passes straight through the mask.

    ``layer.state["whole"]``, [positions of the grid, members], holds the weights of all positions, also of those that
    do not exist now. The layer itself shows existing weights alone, zeros elsewhere, whenever no step is being made: so
    it computes, is saved and is read like every other. ``trained`` says whether the optimizer trains all of them, with
    momentum and decay, or those that exist alone.
    """

    trained: ClassVar[bool] = True

    def undefined_in(self, home: str) -> str:
        """Only in masked layers."""
        if home == "masked":
            return ""
        return (
            f"{type(self).__name__} needs the gradient and the weight of connections that do not exist, which packed "
            'layers have no memory for: use home="masked", and gossamer.pack(model) after the training'
        )

    def new_state(self, layer: LayerView) -> dict[str, Any]:
        """The weights as they are, zeros elsewhere."""
        whole = layer.values.new_zeros(layer.topology.grid.size, layer.values.shape[1])
        whole[layer.positions] = layer.values
        return {"whole": whole}

    def before_whole_step(self, layer: LayerView, gradients: Tensor) -> Tensor:
        """Gradients that the coming optimizer step shall use.

        Args:
            layer: LayerView - ``layer.state["whole"]`` is up to date; what is put into the state is kept if the step
                is made.
            gradients: [positions, members] - of all positions.
        Returns:
            [positions, members]; those of absent connections are not used where ``trained`` is False.
        Cost: O(dense size) a step, as all of a masked layer.
        """
        return gradients

    def revalued(self, layer: LayerView, positions: Tensor) -> Tensor | None:
        """The weights themselves."""
        whole: Tensor = layer.state["whole"][positions]
        return whole

    def wrong_in(self, state: Mapping[str, Any]) -> str:
        """Finite weights, two-dimensional."""
        whole = state.get("whole")
        if not isinstance(whole, Tensor) or whole.dim() != 2 or not whole.is_floating_point():
            return f"only {', '.join(state) or 'nothing'}, for the weights of all positions"
        return "" if bool(whole.isfinite().all()) else "weights that are not finite"

    @staticmethod
    def sizes(layer: LayerView, scores: Tensor) -> Tensor:
        """[positions]: absolute scores, summed over the members of a unit; raises NonFiniteError."""
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteError(
                "topology update",
                expected=f"finite weights in {layer.name}",
                got="NaN or infinity",
                hint="lower the learning rate or clip gradients; nothing was changed",
            )
        return scores.abs().sum(1)
