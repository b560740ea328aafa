"""Whole networks as topologies: layers by name, two of a shape, and layers that read each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import ConfigError, ShapeError
from gossamer.topology.neurons import Neurons
from gossamer.topology.topology import Topology

Network = Topology | Sequence[Topology] | Mapping[str, Topology]
Layers = dict[str, Topology]


def layers_of(network: Network, operation: str) -> Layers:
    """The layers of a network by name; those of a sequence are called by their number.

    Args:
        network: Topology, or a sequence of them or a mapping from names, in order of computation.
        operation: str - named in errors.
    Returns:
        name -> Topology.
    Raises:
        ConfigError: no layer, or something that is no topology.
    Cost: O(layers).
    Example:
        >>> layers_of([], "demo")
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: demo: expected at least one layer, got none
    """
    given: Any = network
    if isinstance(network, Mapping):
        layers = dict(given)
    elif isinstance(network, (list, tuple)):
        layers = {str(number): layer for number, layer in enumerate(given)}
    else:
        layers = {"0": given}
    if not layers:
        raise ConfigError(operation, expected="at least one layer", got="none")
    for layer in layers.values():
        if not isinstance(layer, Topology):
            raise ConfigError(
                operation,
                expected="a Topology, or a sequence of them or a mapping from names",
                got=type(layer).__name__,
                hint="gossamer.nn.topologies(model) gives them, Topology.from_mask makes one of a mask",
            )
    return layers


def pair_of(first: Network, second: Network, operation: str) -> tuple[Layers, Layers]:
    """The layers of two networks, which have to be the same by name, order and shape.

    Args:
        first: Network.
        second: Network.
        operation: str - named in errors.
    Returns:
        (layers of the first, layers of the second).
    Raises:
        ConfigError: no network. ShapeError: other layers, or layers of another shape.
    Cost: O(layers).
    """
    one, two = layers_of(first, operation), layers_of(second, operation)
    if list(one) != list(two):
        raise ShapeError(
            operation,
            expected=f"two networks with the layers {', '.join(map(repr, one))}",
            got=", ".join(map(repr, two)),
        )
    for name, layer in one.items():
        if layer.shape != two[name].shape:
            said = (f"{out} neurons with {inp} inputs" for out, inp in (layer.shape, two[name].shape))
            raise ShapeError(
                f"{operation}: layer {name!r}", expected=f"two layers of {next(said)}", got=next(said)
            )
    return one, two


def check_row(layers: Layers, operation: str, hint: str = "") -> None:
    """Refuse layers of which one does not read all neurons of the one before it; raises ShapeError."""
    for (before, layer), (name, reader) in pairwise(layers.items()):
        if reader.shape[1] != layer.shape[0]:
            raise ShapeError(
                operation,
                expected=f"layers in a row: {name!r} reads the {layer.shape[0]} neurons of {before!r}",
                got=f"{reader.shape[1]} inputs",
                hint=hint,
            )


def colours(layers: Layers) -> list[Tensor]:
    """A colour for every neuron by all that is reached from it; the numbers of hidden neurons do not matter.

    Neurons with the same inputs can be told apart by it: the colour mixes those of the neurons that read this one, the
    neurons of the last layer have one each.

    Args:
        layers: name -> Topology - in a row.
    Returns:
        list of [neurons], int64 - one a layer.
    Cost: O(connections * log).
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> layer = Topology(Unstructured(), (2, 2), torch.tensor([0, 3]))
        >>> first, last = colours({"a": layer, "b": layer})
        >>> last.tolist(), first[0] != first[1]
        ([0, 1], tensor(True))
    """
    found = [torch.arange(list(layers.values())[-1].shape[0])]
    for reader in reversed(list(layers.values())[1:]):
        if reader.is_full:  # every neuron is read by all
            found.insert(0, torch.zeros(reader.shape[1], dtype=torch.int64))
            continue
        readers = Neurons.of(reader).by_input()
        sums = torch.cat([torch.zeros(1, dtype=torch.int64), _mixed(found[0])[readers.inputs].cumsum(0)])
        found.insert(0, sums[readers.starts].diff())
    return found


def _mixed(numbers: Tensor) -> Tensor:
    """Scrambled, so that sums of them tell sets apart; products wrap around."""
    mixed = (numbers + 1) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 31)) * 0x369DEA0F31A53F85
    return mixed ^ (mixed >> 28)
