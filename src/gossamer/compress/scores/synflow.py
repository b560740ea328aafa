"""SynFlow: how much of the flow through the whole network goes through a weight; no data, no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from gossamer.compress.batches import inputs_of
from gossamer.compress.scores.base import Score, Task, parameter_of, scores
from gossamer.compress.untouched import untouched
from gossamer.errors import ConfigError, NonFiniteError, StateError
from gossamer.topology import top_mask


@scores.register("synflow")
@dataclass(frozen=True, kw_only=True)
class SynFlow(Score):
    """|w * dR/d|w||, R the sum of the outputs for an input of ones, absolute weights and no biases, in float64.

    The density falls exponentially over the rounds, each with the scores of what is left. The numbers in ``data`` do
    not matter: one input gives the shape. A network is meant whose activations are the identity for positive numbers.

    Args:
        rounds: int >= 1.
    Cost: a forward and backward pass of one sample a round.
    Source: Tanaka et al. 2020.
    Example:
        >>> SynFlow().rounds
        100
    """

    rounds: int = 100
    allocation: ClassVar[str] = "global"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    def __post_init__(self) -> None:
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 1:
            raise ConfigError("SynFlow(rounds=)", expected="an integer from 1", got=repr(self.rounds))

    def of(self, task: Task) -> dict[str, Tensor]:
        """Scores of the last round; what fell before scores below zero."""
        inputs = inputs_of(task.batches[0])
        if not (isinstance(inputs, Tensor) and inputs.is_floating_point()):
            raise ConfigError(
                "prune(score='synflow')", expected="one tensor of real numbers", got="another input"
            )
        ones = torch.ones_like(inputs[:1], dtype=torch.float64)
        masks = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in task.weights.items()}
        size = sum(mask.numel() for mask in masks.values())
        found = self._flow(task, ones, masks)
        for number in range(1, self.rounds):
            flat = torch.cat([found[name].masked_fill(~mask, -1.0).flatten() for name, mask in masks.items()])
            kept = top_mask(flat, int(task.overall ** (number / self.rounds) * size))
            parts = kept.split([mask.numel() for mask in masks.values()])
            masks = {
                name: part.view(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)
            }
            found = self._flow(task, ones, masks)
        return {name: found[name].masked_fill(~mask, -1.0) for name, mask in masks.items()}

    def _flow(self, task: Task, ones: Tensor, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Name -> |w * dR/d|w||, float64."""
        names = {id(parameter_of(layer)): name for name, layer in task.layers.items()}
        biases = {id(layer.bias) for layer in task.layers.values() if layer.bias is not None}
        state: dict[str, Tensor] = {}
        leaves: dict[str, Tensor] = {}
        for key, tensor in (*task.model.named_parameters(), *task.model.named_buffers()):
            real = tensor.is_floating_point()
            state[key] = tensor.detach().abs().double() if real else tensor
            if id(tensor) in biases:  # flow that no weight of the layers before carries
                state[key].zero_()
            if (name := names.get(id(tensor))) is not None:
                leaves[name] = state[key].mul_(masks[name]).requires_grad_()
        with untouched(task.model, False):
            total = _sum(functional_call(task.model, state, (ones,)))
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {
            name: _finite(name, leaf, gradient)
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
        }


def _sum(outputs: Any) -> Tensor:
    """R: the sum of all outputs; raises ConfigError for anything but a tensor."""
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            "prune(score='synflow')", expected="a model with one tensor as output", got=type(outputs).__name__
        )
    return outputs.sum()


def _finite(name: str, weights: Tensor, gradient: Tensor | None) -> Tensor:
    """The scores of a layer; raises StateError where nothing flows, NonFiniteError where it overflows."""
    if gradient is None:
        raise StateError(
            f"prune {name}",
            expected="a layer that the output depends on",
            got="no gradient",
            hint="leave it out with skip=",
        )
    found = (weights.detach() * gradient).abs()
    if not bool(torch.isfinite(found).all()):
        raise NonFiniteError(
            f"prune {name}",
            expected="a flow within the range of float64",
            got="NaN or infinity",
            hint="normalize the weights, or take another score",
        )
    return found
