"""A network as a graph: which connections lie on a way from an input to an output, and what hangs together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from gossamer.errors import MissingPackage
from gossamer.topology.network import Layers, Network, check_row, layers_of
from gossamer.topology.neurons import Neurons


@dataclass(frozen=True)
class Effective:
    """Connections on a complete way from an input of the network to an output.

    Args:
        connections: tuple of int - of each layer, those that are on one.
        stored: tuple of int - of each layer, all.
        possible: tuple of int - of each layer, those of a dense one.
        neurons: tuple of int - of each layer, neurons that are on one.
    """

    connections: tuple[int, ...]
    stored: tuple[int, ...]
    possible: tuple[int, ...]
    neurons: tuple[int, ...]

    @property
    def density(self) -> float:
        """Share of the dense network's connections that are on a complete way."""
        return sum(self.connections) / sum(self.possible)

    @property
    def stored_density(self) -> float:
        """Share of the dense network's connections that are stored; never less."""
        return sum(self.stored) / sum(self.possible)


def effective(network: Network) -> Effective:
    """Count the connections through which an input can reach an output.

    Biases are not looked at: a neuron without inputs gives a constant, and its connections do not count.

    Args:
        network: Network - layers in a row.
    Returns:
        Effective.
    Raises:
        ShapeError: layers that are not in a row. ConfigError: not a network.
    Cost: O(connections * log), those of dense layers too.
    Source: Vysogorets and Kempe, Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity,
        JMLR 2023.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> from gossamer.topology import Topology
        >>> first = Topology(Unstructured(), (2, 2), torch.tensor([0, 1]))  # the second neuron has no input
        >>> last = Topology(Unstructured(), (1, 2), torch.tensor([0, 1]))
        >>> effective([first, last]).connections, effective([first, last]).density
        ((2, 1), 0.5)
    """
    layers = _row(network, "effective")
    rows = [Neurons.of(layer) for layer in layers.values()]
    reached = [torch.ones(rows[0].width, dtype=torch.bool)]
    for neurons in rows:
        reached.append(_any(neurons.owners()[reached[-1][neurons.inputs]], neurons.number))
    useful = [torch.ones(rows[-1].number, dtype=torch.bool)]
    for neurons in reversed(rows):
        useful.insert(0, _any(neurons.inputs[useful[0][neurons.owners()]], neurons.width))
    kept = [
        int((before[neurons.inputs] & after[neurons.owners()]).sum())
        for neurons, before, after in zip(rows, reached, useful[1:], strict=False)
    ]
    return Effective(
        tuple(kept),
        tuple(layer.connections for layer in layers.values()),
        tuple(layer.shape[0] * layer.shape[1] for layer in layers.values()),
        tuple(int((a & b).sum()) for a, b in zip(reached[1:], useful[1:], strict=True)),
    )


def paths(network: Network) -> int:
    """The number of ways from an input of the network to an output, exactly.

    Args:
        network: Network - layers in a row.
    Returns:
        int - of any size.
    Raises:
        ShapeError: layers that are not in a row. ConfigError: not a network.
    Cost: O(connections), in numbers of Python where they leave 63 bits.
    Example:
        >>> from gossamer.topology import FullTopology
        >>> paths([FullTopology((4, 3)), FullTopology((2, 4))])
        24
    """
    layers = _row(network, "paths")
    ways = [1] * next(iter(layers.values())).shape[1]
    for layer in layers.values():
        neurons = Neurons.of(layer)
        most = int(neurons.fan_in.max()) * max(ways, default=0)
        if most < 1 << 62:
            sums = torch.zeros(neurons.number, dtype=torch.int64)
            ways = sums.index_add_(0, neurons.owners(), torch.tensor(ways)[neurons.inputs]).tolist()
        else:
            inputs = neurons.inputs.tolist()
            ways = [sum(ways[i] for i in inputs[a:b]) for a, b in pairwise(neurons.starts.tolist())]
    return sum(ways)


@dataclass(frozen=True)
class Components:
    """The parts of a network that no connection joins.

    Args:
        sizes: tuple of int - nodes of each part that has a connection, the largest first.
        isolated: int - inputs and neurons without any connection.
    """

    sizes: tuple[int, ...]
    isolated: int


def components(network: Network) -> Components:
    """The connected parts of a network, the direction of connections left aside.

    Args:
        network: Network - layers in a row.
    Returns:
        Components.
    Raises:
        ShapeError: layers that are not in a row. ConfigError: not a network. MissingPackage: no SciPy.
    Cost: O(connections), those of dense layers too.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> from gossamer.topology import Topology
        >>> components(Topology(Unstructured(), (3, 3), torch.tensor([0, 4, 7])))
        Components(sizes=(3, 2), isolated=1)
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
    except ModuleNotFoundError as error:
        hint = "pip install 'gossamer[train]'"
        raise MissingPackage("components", expected="the package scipy", got="none", hint=hint) from error
    rows = [Neurons.of(layer) for layer in _row(network, "components").values()]
    firsts = list(accumulate([rows[0].width, *(neurons.number for neurons in rows)], initial=0))
    source = torch.cat([neurons.inputs + first for neurons, first in zip(rows, firsts, strict=False)])
    target = torch.cat([neurons.owners() + first for neurons, first in zip(rows, firsts[1:], strict=False)])
    shape, ones = (firsts[-1], firsts[-1]), torch.ones(source.numel(), dtype=torch.int8)
    graph = coo_array((ones.numpy(), (source.numpy(), target.numpy())), shape=shape)
    sizes = sorted(Counter(connected_components(graph, directed=False)[1].tolist()).values(), reverse=True)
    return Components(tuple(size for size in sizes if size > 1), sizes.count(1))


def _row(network: Network, operation: str) -> Layers:
    """The layers of a network, in a row."""
    layers = layers_of(network, operation)
    check_row(layers, operation, "networks with branches and convolutions are not followed")
    return layers


def _any(numbers: Tensor, count: int) -> Tensor:
    """[count], bool: which numbers occur."""
    return torch.zeros(count, dtype=torch.bool).index_fill_(0, numbers, value=True)
