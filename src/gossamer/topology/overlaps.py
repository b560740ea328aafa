"""What topologies have in common connection by connection, and how much of a network several of them have visited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.topology.network import Layers, Network, layers_of, pair_of
from gossamer.topology.neurons import Neurons
from gossamer.topology.topology import Topology


@dataclass(frozen=True)
class Overlap:
    """Connections that two topologies share.

    Args:
        shared: int - that both have.
        first, second: int - that each has.
    """

    shared: int
    first: int
    second: int

    @property
    def jaccard(self) -> float:
        """Shared ones over all that any of the two has; 1 where none has any."""
        union = self.first + self.second - self.shared
        return self.shared / union if union else 1.0


def overlap(first: Network, second: Network) -> Overlap:
    """Connections that two topologies share, neurons and inputs as they are numbered.

    Args:
        first: Network.
        second: Network - of the same shapes. Layers that are dense in both do not count.
    Returns:
        Overlap.
    Raises:
        ShapeError: other layers or shapes. ConfigError: not a network.
    Cost: O(connections * log).
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a, b = (Topology(Unstructured(), (2, 3), torch.tensor(at)) for at in ([0, 1, 4], [1, 4, 5]))
        >>> overlap(a, b), overlap(a, b).jaccard
        (Overlap(shared=2, first=3, second=3), 0.5)
    """
    one, two = pair_of(first, second, "overlap")
    sums = torch.zeros(3, dtype=torch.int64)
    for name, layer in one.items():
        if not (layer.is_full and two[name].is_full):
            mine, theirs = _places(layer), _places(two[name])
            shared = torch.isin(mine, theirs, assume_unique=True).sum()
            sums += torch.tensor([int(shared), mine.numel(), theirs.numel()])
    return Overlap(*sums.tolist())


def exploration(networks: Iterable[Network]) -> list[float]:
    """The share of all possible connections that existed in a topology so far: the exploration rate of ITOP.

    Args:
        networks: Network after Network, as training made them, of the same shapes. Layers that are dense in the first
            do not count.
    Returns:
        list of float in [0, 1] - after each of them; never falls. What came and went between two of them is not seen.
    Raises:
        ShapeError: other layers or shapes. ConfigError: not a network.
    Cost: O(connections that existed * log) for each.
    Source: Liu et al., Do We Actually Need Dense Over-Parameterization?, ICML 2021: R_s.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> steps = [Topology(Unstructured(), (2, 4), torch.tensor(at)) for at in ([0, 1], [1, 5], [0, 7])]
        >>> exploration(steps)
        [0.25, 0.375, 0.5]
    """
    start: Layers = {}
    met: dict[str, Tensor] = {}
    rates = []
    for network in networks:
        layers = layers_of(network, "exploration")
        start = start or layers
        pair_of(start, layers, "exploration")
        for name, layer in layers.items():
            if not start[name].is_full:
                before = met.get(name, torch.empty(0, dtype=torch.int64))
                met[name] = torch.cat([before, _places(layer)]).unique()
        possible = sum(start[name].shape[0] * start[name].shape[1] for name in met)
        rates.append(sum(places.numel() for places in met.values()) / possible if possible else 1.0)
    return rates


def _places(topology: Topology) -> Tensor:
    """[connections], int64, ascending: ``neuron * inputs + input``."""
    return Neurons.of(topology).places()
