"""Perceptrons that never have a dense weight where they are sparse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.measure import require_memory
from gossamer.nn.activations import AllReLU, Dropout
from gossamer.nn.convert import sparsify

Values = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]

# name -> (number of the hidden layer from 1, slope of the negative side) -> module
ACTIVATIONS: dict[str, Callable[[int, float], nn.Module]] = {
    "relu": lambda _number, _slope: nn.ReLU(),
    "leaky_relu": lambda _number, slope: nn.LeakyReLU(slope),
    "all_relu": lambda number, slope: AllReLU(slope, layer=number + 1),  # which counts the input layer too
    "tanh": lambda _number, _slope: nn.Tanh(),
}


def perceptron(
    sizes: Sequence[int],
    activation: Callable[[int], nn.Module],
    dropout: float,
    seed: int,
    sparse: Mapping[str, Any] | None,
    values: Values,
    device: str = "cpu",
) -> nn.Sequential:
    """fc1, act1, drop1, fc2, ...: sparse where the density of a layer is below 1.

    Args:
        sizes: width of every layer, inputs first.
        activation: number of a hidden layer, from 1 -> nn.Module.
        dropout: float in [0, 1) - of the outputs of every hidden layer; at 0 there is no module for it.
        seed: int - of topologies and values; nothing else decides them, and torch's generator is left alone.
        sparse: arguments of ``sparsify`` other than model, generator and device; None leaves every layer dense.
        values: (outputs, inputs, generator) -> weight and bias of a layer that stays dense: he_normal or as_torch.
        device: str - where torch puts it.

    Returns:
        nn.Sequential, float32.

    Raises:
        ConfigError, DensityError, PatternError. MemoryShortage: a layer that stays dense does not fit.

    Cost: O(connections): the dense layers that ``sparsify`` replaces are on the meta device.

    Example:
        >>> zeros = {"density": {"fc1": 0.1, "fc2": 1.0}, "pattern": "fanin"}
        >>> model = perceptron([500, 40, 3], lambda _: nn.ReLU(), 0.0, 0, zeros, he_normal)
        >>> model.fc1, model.fc2
        (SparseLinear(500 -> 40, pattern=fanin, connections=2,000, home=packed), DenseLinear(in_features=40, ...
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{number}"] = nn.Linear(inputs, outputs, device="meta", dtype=torch.float32)
        if number < len(sizes) - 1:
            layers[f"act{number}"] = activation(number)
            if dropout:
                layers[f"drop{number}"] = Dropout(dropout)
    model = nn.Sequential(layers)
    draw = torch.Generator().manual_seed(seed)
    if sparse is not None:
        sparsify(model, generator=draw, device=device, **sparse)
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    needed = 4 * sum(layer.weight.numel() for layer in dense)
    require_memory("dense layers", needed, "give them a lower density or epsilon")
    with torch.no_grad():
        for layer in dense:
            weight, bias = values(layer.out_features, layer.in_features, draw)
            layer.to_empty(device=device)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return model


def he_normal(outputs: int, inputs: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weight and bias of a dense layer, as sparse ones start: for the fan-in, and no bias."""
    return torch.randn(outputs, inputs, generator=draw) * (2.0 / inputs) ** 0.5, torch.zeros(outputs)


def as_torch(outputs: int, inputs: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weight and bias of a dense layer, as ``nn.Linear`` draws them from torch's generator."""
    weight, bound = torch.empty(outputs, inputs), inputs**-0.5
    nn.init.kaiming_uniform_(weight, a=5**0.5, generator=draw)
    return weight, torch.empty(outputs).uniform_(-bound, bound, generator=draw)
