"""How far two topologies are apart: NNSTD, the neural network sparse topology distance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gossamer.errors import ConfigError
from gossamer.registry import check_choice
from gossamer.topology.colours import Tints, colours
from gossamer.topology.matching import MATCHINGS, by_colour, check_pairs
from gossamer.topology.network import Layers, Network, check_row, layers_of, pair_of
from gossamer.topology.neurons import Neurons, edit_distances
from gossamer.topology.similarity import Side
from gossamer.topology.topology import Topology

NOT_IN_A_ROW = "compare layer by layer, inputs as they are numbered, with follow=False"


@dataclass(frozen=True)
class LayerDistance:
    """What lies between two topologies of one layer.

    Args:
        name: str.
        distance: float in [0, 1] - mean over neurons, each beside the one that it is matched with.
        unmatched: float in [0, 1] - the same with every neuron beside the one of its number, inputs as numbered.
        neurons: int - over how many the mean is.
        counted: bool - whether the layer is in the mean of the network.
        matching: [neurons], int64 - for every neuron of the first topology the one of the second.
    """

    name: str
    distance: float
    unmatched: float
    neurons: int
    counted: bool
    matching: Tensor


@dataclass(frozen=True)
class Distance:
    """What lies between two topologies of a network.

    Args:
        layers: tuple of LayerDistance - in order of computation.
    """

    layers: tuple[LayerDistance, ...]

    @property
    def value(self) -> float:
        """The mean over the layers that count; 0 where none does."""
        return _mean([layer.distance for layer in self.layers if layer.counted])

    @property
    def unmatched(self) -> float:
        """The same mean without matching."""
        return _mean([layer.unmatched for layer in self.layers if layer.counted])


def nnstd(
    first: Network,
    second: Network,
    *,
    matching: str = "hungarian",
    follow: bool = True,
    published: bool = False,
) -> Distance:
    """The distance of two topologies of one layer, or of two networks of the same shapes.

    Two neurons differ by the share of their inputs that only one of them has. Neurons of a layer have no order, so each
    is put beside one of the other topology such that the sum is smallest; in the next layer its outputs are then taken
    for those of its partner. The same network with its hidden neurons in another order is at 0, as far as colour
    refinement tells neurons apart: rings that look alike are an exception. 1 is nothing in common. Two independent
    random topologies are far below 1, see ``null_model``.

    Args:
        first: Network - a Topology, or a sequence or a mapping of them in order of computation.
        second: Network - of the same shapes.
        matching: "hungarian" (the smallest sum; needs SciPy, and 8 bytes for every pair of neurons), "greedy" (most
            similar pairs first; for wide layers, without SciPy) or "identity" (as neurons are numbered).
        follow: bool - layers read each other in a row, and what was matched in one is followed into the next; False:
            every layer's inputs are taken as they are numbered, for networks with branches and for convolutions.
        published: bool - as the authors count: neurons without inputs are matched at distance 0 and are in the mean, as
            are layers that are dense in both networks, or empty. Otherwise these are left out.
    Returns:
        Distance. Equal arguments in the other order give the same numbers.
    Raises:
        ShapeError: other layers or shapes, or layers that are not in a row. ConfigError: not a network, an unknown
        matching. MissingPackage: no SciPy. MemoryShortage: "hungarian" with too many pairs.
    Cost: passes over all connections for colours, sparse products in pieces, never neurons times inputs at once, then
        the matching: a second for 2,000 neurons.
    Source: Liu et al., Topological Insights into Sparse Neural Networks, ECML-PKDD 2020. Ties between equal
        matchings, which the paper leaves open, go to neurons of one colour, then to those of one number.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a = Topology(Unstructured(), (2, 7), torch.tensor([1, 2, 3, 7 + 4, 7 + 5]))
        >>> b = Topology(Unstructured(), (2, 7), torch.tensor([4, 5, 7 + 1, 7 + 2, 7 + 6]))
        >>> found = nnstd(a, b, matching="greedy")
        >>> found.value, found.unmatched, found.layers[0].matching.tolist()
        (0.25, 1.0, [1, 0])
    """
    check_choice("nnstd(matching=)", matching, MATCHINGS)
    one, two = pair_of(first, second, "nnstd")
    if follow:
        check_row(one, "nnstd", NOT_IN_A_ROW)
    sparse = [each.shape[0] for name, each in one.items() if not (each.is_full or two[name].is_full)]
    check_pairs(matching, max(sparse, default=0))
    if turned := _digest(two) < _digest(one):  # ties are settled once for both orders of the arguments
        one, two = two, one
    tints = colours(one, two) if follow else (_no_colours(one), _no_colours(one))
    found, place = [], None
    for name, *colour in zip(one, *tints, strict=True):
        layer = _layer(name, (one[name], two[name]), colour, place, matching, published=published)
        place = layer.matching.argsort() if follow else None
        found.append(layer)
    return Distance(tuple(map(_turned, found) if turned else found))


def _layer(
    name: str,
    pair: tuple[Topology, Topology],
    colour: Sequence[Tensor],
    place: Tensor | None,
    matching: str,
    *,
    published: bool,
) -> LayerDistance:
    """One layer; ``place``: what the inputs of the second were matched with."""
    count, number = pair[0].shape[0], torch.arange(pair[0].shape[0])
    if any(topology.is_full for topology in pair):  # all matchings have the same sum
        mean = _beside_full(pair)
        counted = published or not all(topology.is_full for topology in pair)
        order = number if matching == "identity" else by_colour(*colour)
        return LayerDistance(name, mean, mean, count, counted, order)
    first, second = (Neurons.of(topology) for topology in pair)
    moved = second if place is None else second.renumbered(place)
    sides = [Side(neurons, number, own) for neurons, own in zip((first, moved), colour, strict=True)]
    order = MATCHINGS[matching](*sides)
    plain, _ = _mean_distance(first, second, everyone=published)
    mean, over = _mean_distance(first, moved.take(order), everyone=published)
    return LayerDistance(name, mean, plain, over, counted=published or over > 0, matching=order)


def _mean_distance(first: Neurons, second: Neurons, *, everyone: bool) -> tuple[float, int]:
    """The mean distance of neurons of one number, and over how many: all, or those with an input in any of the two."""
    over = first.number if everyone else int(((first.fan_in > 0) | (second.fan_in > 0)).sum())
    return float(edit_distances(first, second).sum()) / max(over, 1), over


def _beside_full(pair: tuple[Topology, Topology]) -> float:
    """The mean distance of neurons of which one reads every input."""
    return 1 - min(topology.density for topology in pair)


def _no_colours(layers: Layers) -> Tints:
    """Of layers that are not followed."""
    return [torch.zeros(1, layer.shape[0], dtype=torch.int64) for layer in layers.values()]


def _turned(layer: LayerDistance) -> LayerDistance:
    """The same from the other network's side."""
    return replace(layer, matching=layer.matching.argsort())


def _digest(layers: Layers) -> bytes:
    """What tells two networks apart."""
    found = hashlib.blake2b(digest_size=16)
    for topology in layers.values():
        found.update(b"full" if topology.is_full else topology.positions.numpy().tobytes())
    return found.digest()


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def distance_matrix(
    networks: Sequence[Network],
    *,
    matching: str = "hungarian",
    follow: bool = True,
    published: bool = False,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> Tensor:
    """The distances of several topologies from each other.

    Args:
        networks: sequence of Network - of the same shapes.
        matching: str - as for ``nnstd``, like the two that follow.
        follow: bool.
        published: bool.
        told: callable (done, total) - after every pair, for progress displays.
    Returns:
        [networks, networks], float64 - symmetric, zeros on the diagonal.
    Raises:
        ConfigError: no network. And what ``nnstd`` raises.
    Cost: that of ``nnstd`` for each pair.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> rows = (torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([0, 1]))
        >>> distance_matrix([Topology(Unstructured(), (1, 3), row) for row in rows], matching="greedy").tolist()
        [[0.0, 0.6666666666666666, 0.0], [0.6666666666666666, 0.0, 0.6666666666666666], [0.0, 0.6666666666666666, 0.0]]
    """
    if not networks:
        raise ConfigError("distance_matrix", expected="at least one network", got="none")
    found = torch.zeros(len(networks), len(networks), dtype=torch.float64)
    pairs = [(row, col) for row in range(len(networks)) for col in range(row)]
    for done, (row, col) in enumerate(pairs, start=1):
        between = nnstd(networks[row], networks[col], matching=matching, follow=follow, published=published)
        found[row, col] = found[col, row] = between.value
        told(done, len(pairs))
    return found


def null_model(network: Network, generator: torch.Generator | None = None) -> Layers:
    """A random topology with the patterns and the numbers of connections of a network: what chance alone gives.

    The distance of two of them says what "nothing in common" is; it is not 1: neurons that are matched share inputs by
    chance. Connections are spread over all neurons, those that have none in ``network`` too.

    Args:
        network: Network.
        generator: torch.Generator or None.
    Returns:
        name -> Topology. Dense layers stay dense.
    Raises:
        ConfigError: not a network.
    Cost: O(connections).
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a = Topology(Unstructured(), (4, 9), torch.arange(6))
        >>> null_model(a, torch.Generator().manual_seed(0))["0"].connections
        6
    """
    return {
        name: layer
        if layer.is_full
        else Topology(
            layer.pattern,
            layer.shape,
            layer.pattern.sample(layer.positions.numel(), layer.grid, generator),
        )
        for name, layer in layers_of(network, "null_model").items()
    }
