"""Whole networks as topologies: layers by name, two of a shape, and layers that read each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from gossamer.errors import ConfigError, ShapeError
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
