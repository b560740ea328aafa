"""A layer that computes with rounded inputs and rounded weights, and is trained with what it had before rounding."""

from __future__ import annotations

import math
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gossamer import ops
from gossamer.nn.masked import Masked
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule

STEPS: Final = 255  # between the smallest input and the largest
SMALLEST: Final = (
    1.2e-38  # step whose reciprocal is a number of float32; inputs that need a smaller one count as zeros
)
EXACT: Final = "exact"


class InputRounding(nn.Module):
    """Inputs as one of 256 equal steps of a range that was fixed beforehand; zero is one of them.

    Args:
        low, high: float - of the inputs; the range is widened to hold 0.
    Cost: O(inputs).
    Source: Jacob et al. 2018, equation 1: ``step = (high - low) / 255``, zero at ``round(-low / step)``.
    Example:
        >>> rounding = InputRounding(-1.0, 4.1)
        >>> round(rounding.step, 6), rounding.low, rounding.high, rounding(torch.tensor([0.0, 9.0])).tolist()
        (0.02, -50, 205, [0.0, 4.099999904632568])
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        low, high = min(low, 0.0), max(high, 0.0)
        step = float(np.float32((high - low) / STEPS))
        self.step = step if step >= SMALLEST else 1.0
        self.low = -min(STEPS, max(0, round(-low / self.step)))
        self.high = STEPS + self.low

    def forward(self, x: Tensor) -> Tensor:
        """A tensor like x."""
        return ops.round_inputs(x, self.step, self.low, self.high)

    def get_extra_state(self) -> Tensor:
        """Step, smallest and largest number."""
        return torch.tensor([self.step, self.low, self.high], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse."""
        step, low, high = state.tolist()
        self.step, self.low, self.high = step, int(low), int(high)

    def extra_repr(self) -> str:
        """Step and numbers."""
        return f"step={self.step:.4g}, {self.low} .. {self.high}"


class Quantized(nn.Module):
    """A layer behind rounded inputs, with weights that are rounded in every call; made by ``gossamer.quantize``.

    The optimizer moves the weights as they were before rounding: the gradient passes straight through. ``freeze``
    makes the same numbers of it, with ``values`` of the same type.

    Args:
        layer: nn.Module - linear or a convolution, sparse or dense.
        inputs: InputRounding, or None: inputs stay as they are.
        values: str - the type that weights are rounded to, or "exact".
    Cost: beside the layer's, O(inputs) and O(connections), the latter on the CPU.
    Example:
        >>> layer = Quantized(nn.Linear(2, 1, bias=False), InputRounding(0.0, 255.0), "ternary")
        >>> _ = layer.layer.weight.data.copy_(torch.tensor([[4.0, 1.0]]))
        >>> layer(torch.tensor([[1.4, 1.0]])).tolist()
        [[4.0]]
    """

    def __init__(self, layer: nn.Module, inputs: InputRounding | None, values: str) -> None:
        super().__init__()
        self.inputs, self.layer, self.values = inputs, layer, values

    def forward(self, x: Tensor) -> Any:
        """As the layer."""
        if self.inputs is not None:
            x = self.inputs(x)
        if self.values == EXACT:
            return self.layer(x)
        return functional_call(self.layer, {parameter_of(self.layer): self.rounded()}, (x,))

    def rounded(self) -> Tensor:
        """Of the shape of the layer's parameter: what its weights are in the product."""
        return rounded_weights(self.layer, self.values)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the rounded weights into the layer, and round no more: what freezing does with its copy."""
        if self.values != EXACT:
            weights_of(self.layer).copy_(self.rounded())
            self.values = EXACT

    def extra_repr(self) -> str:
        """The type of the weights."""
        return f"values={self.values!r}"


def weights_of(layer: nn.Module) -> nn.Parameter:
    """The parameter that holds a layer's weights."""
    return layer.weights if isinstance(layer, SparseModule) else cast("nn.Parameter", layer.weight)


def parameter_of(layer: nn.Module) -> str:
    """Its name."""
    weights = weights_of(layer)
    return next(name for name, each in layer.named_parameters(recurse=False) if each is weights)


def rounded_weights(layer: nn.Module, to: str) -> Tensor:
    """Of the shape of a layer's parameter: weights rounded neuron by neuron; what is not stored stays zero.

    Example:
        >>> layer = nn.Linear(3, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 0.0, 1.0]]))
        >>> rounded_weights(layer, "binary").tolist()
        [[2.0, 0.0, 2.0]]
    """
    weights = weights_of(layer)
    places, rows, neurons = stored(layer)
    flat = weights.reshape(-1)
    return (
        torch.zeros_like(flat)
        .index_put((places,), ops.round_values(flat[places], rows, neurons, to))
        .view_as(weights)
    )


def stored(layer: Any) -> tuple[Tensor, Any, int]:
    """Where a layer's stored weights stand in its flat parameter, [n] int64; the neuron of each; number of neurons."""
    weights = weights_of(layer)
    if isinstance(layer, Packed):
        rows = ops.rows_of(list(layer.index.values()), layer.pattern.layout, layer.pattern.dims(layer.shape))
        return torch.arange(rows.size, device=weights.device), rows, layer.shape[0]
    held = layer.mask if isinstance(layer, Masked) else weights.detach() != 0
    places = held.reshape(-1).nonzero().squeeze(1)
    return places, places.cpu().numpy() // math.prod(weights.shape[1:]), weights.shape[0]
