"""From hyper-parameters to a sparse perceptron that never had a dense weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gossamer.measure.room import require_memory
from gossamer.nn import AllReLU, Dropout, SparseModule, sparsify
from gossamer.patterns import Pattern, parse

# name -> (number of the hidden layer from 1, slope of the negative side) -> module
ACTIVATIONS: dict[str, Callable[[int, float], nn.Module]] = {
    "relu": lambda _number, _slope: nn.ReLU(),
    "leaky_relu": lambda _number, slope: nn.LeakyReLU(slope),
    "all_relu": lambda number, slope: AllReLU(slope, layer=number + 1),  # which counts the input layer too
    "tanh": lambda _number, _slope: nn.Tanh(),
}


def perceptron(
    sizes: Sequence[int],
    density: float | Mapping[str, float] | None,
    pattern: str | Pattern,
    activation: Callable[[int], nn.Module],
    dropout: float,
    seed: int,
    device: str,
) -> nn.Sequential:
    """fc1, act1, drop1, fc2, ...: sparse where the density of a layer is below 1.

    Args:
        sizes: width of every layer, inputs first.
        density: as for ``gossamer.sparsify``.
        pattern: Pattern, or the short name of one.
        activation: number of a hidden layer, from 1 -> nn.Module.
        dropout: float in [0, 1) - of the outputs of every hidden layer; at 0 there is no module for it.
        seed: int - of topologies and values.
        device: str - where torch puts it.

    Returns:
        nn.Sequential, float32.

    Raises:
        ConfigError, DensityError, PatternError.

    Cost: O(connections): the dense layers that ``sparsify`` replaces are on the meta device.

    Example:
        >>> model = perceptron([500, 40, 3], {"fc1": 0.1, "fc2": 1.0}, "fanin", lambda _: nn.ReLU(), 0.0, 0, "cpu")
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
    zeros = pattern if isinstance(pattern, Pattern) else parse(pattern)
    sparsify(model, density, zeros, generator=draw, device=device)
    for layer in model:
        if isinstance(layer, nn.Linear):
            _exist(layer, draw, device)
    return model


def _exist(layer: nn.Linear, draw: torch.Generator, device: str) -> None:
    """Give a layer that stays dense its values: He-normal as in sparse layers, and no bias."""
    numbers = layer.in_features * layer.out_features
    require_memory("dense layer", 4 * numbers, "give it a lower density or epsilon")
    layer.to_empty(device=device)
    values = torch.randn(layer.weight.shape, generator=draw) * (2.0 / layer.in_features) ** 0.5
    with torch.no_grad():
        layer.weight.copy_(values)
        layer.bias.zero_()


def input_strength(layer: SparseModule | nn.Linear) -> Tensor:
    """[inputs]: sum of the absolute weights that leave each input of a linear layer, sparse or dense.

    Cost: O(connections).

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        >>> input_strength(layer).tolist()
        [4.0, 2.0]
    """
    if not isinstance(layer, SparseModule):
        return layer.weight.detach().abs().sum(0).cpu()
    grid = layer.grid
    each = layer.unit_values().abs().view(-1, grid.h, grid.w).sum(1)  # by unit, and input of it
    columns = layer.topology.positions % grid.cols
    return each.new_zeros(grid.cols, grid.w).index_add_(0, columns, each).flatten()
