"""Colours of neurons: which ones of two networks may be taken for each other, by all that they are joined with."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gossamer.topology.neurons import Neurons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.topology.network import Layers

NEAR = (
    2  # rounds after which neurons are compared too: in networks that differ elsewhere most are alike still
)
CHOICES = 1 << 26  # nodes and connections that are looked at for choices, over and over: some twenty seconds

Tints = list[Tensor]


def colours(first: Layers, second: Layers) -> tuple[Tints, Tints]:
    """Colours for the neurons of two networks, which do not depend on the numbers of hidden neurons.

    Inputs and the neurons of the last layer have a colour each, by number; hidden ones get theirs from those of their
    inputs and of their readers, again and again, until no colour splits (colour refinement, Weisfeiler and Leman).
    Where neurons of one colour are left that differ in what they are joined with, one of each network is given a colour
    of its own, and refinement goes on: what they are joined with can now be told apart, too.

    Args:
        first: name -> Topology - layers in a row.
        second: name -> Topology - of the same shapes.
    Returns:
        (of the first, of the second), for each layer [2, neurons], int64: colours after few rounds, and in the end.
    Cost: O(connections) memory, and as many operations a round, ten of them as a rule; up to `CHOICES` more.
    Source: Weisfeiler and Leman 1968; McKay and Piperno 2014, Practical graph isomorphism, II, for the choices.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> from gossamer.topology import Topology
        >>> layer = Topology(Unstructured(), (2, 2), torch.tensor([0, 3]))
        >>> turned = Topology(Unstructured(), (2, 2), torch.tensor([1, 2]))
        >>> one, two = colours({"a": layer, "b": layer}, {"a": turned, "b": turned})
        >>> (one[0] == two[0].flip(1)).all().item(), (one[1] == two[1]).all().item()
        (True, True)
    """
    graph = _Pair.of(first, second)
    colour = near = graph.start()
    for _ in range(NEAR):
        near = graph.refined(near)
    colour = graph.settled(near)
    joined = graph.joined(torch.arange(colour.numel()) % graph.number)
    for _ in range(CHOICES // (colour.numel() + graph.read.numel())):
        pair = _undecided(colour.view(2, -1), joined.view(2, -1))
        if pair is None:
            break
        colour = colour.clone()
        colour.view(2, -1)[[0, 1], pair] = 0
        colour = graph.settled(colour)
    both = torch.stack([near, colour]).view(2, 2, -1)
    return graph.by_layer(both[:, 0]), graph.by_layer(both[:, 1])


class _Pair(NamedTuple):
    """Two networks as one graph: a node for every input and neuron, those of the second behind those of the first.

    Args:
        sizes: inputs, and neurons of every layer.
        read, reader: [connections], int64 - both ends, without dense layers, which tell no neuron from another.
    """

    sizes: Sequence[int]
    read: Tensor
    reader: Tensor

    @classmethod
    def of(cls, *networks: Layers) -> _Pair:
        layers = [layer for network in networks for layer in network.values()]
        sizes = [layers[0].shape[1], *(layer.shape[0] for layer in networks[0].values())]
        ends = list(accumulate(sizes * 2, initial=0))
        at = [side * len(sizes) + number for side in range(2) for number in range(len(sizes) - 1)]
        read = reader = torch.empty(0, dtype=torch.int64)
        for layer, number in zip(layers, at, strict=True):
            if not layer.is_full:
                neurons = Neurons.of(layer)
                read = torch.cat([read, neurons.inputs + ends[number]])
                reader = torch.cat([reader, neurons.owners() + ends[number + 1]])
        return cls(sizes, read, reader)

    @property
    def number(self) -> int:
        """Nodes of one network."""
        return sum(self.sizes)

    def start(self) -> Tensor:
        """A colour for every input and output, and one for each hidden layer."""
        inputs, *hidden, outputs = self.sizes
        parts = [torch.full((size,), -1 - at) for at, size in enumerate(hidden)]
        own = torch.cat([torch.arange(inputs), *parts, torch.arange(outputs) + inputs])
        return own.repeat(2)

    def joined(self, colour: Tensor) -> Tensor:
        """[nodes], int64: a sum that tells sets of colours apart, those of inputs from those of readers."""
        below, above = _mixed(2 * colour), _mixed(2 * colour + 1)
        found = torch.zeros_like(colour).index_add_(0, self.reader, below[self.read])
        return found.index_add_(0, self.read, above[self.reader])

    def refined(self, colour: Tensor) -> Tensor:
        """Colours that tell apart what they did before, and what is joined with unlike nodes."""
        return _mixed(_mixed(colour) + self.joined(colour) * 3)

    def settled(self, colour: Tensor) -> Tensor:
        """The same until no colour splits."""
        before, number = -1, 0
        while number > before:
            colour = self.refined(colour)
            before, number = number, int(colour.sort().values.diff().count_nonzero())
        return colour

    def by_layer(self, tints: Tensor) -> Tints:
        """[levels, nodes] of one network, layer by layer."""
        return list(tints.split(list(self.sizes), 1)[1:])


def _undecided(colour: Tensor, joined: Tensor) -> list[int] | None:
    """A node of each network of one colour, where the first has several that are not joined with the same nodes."""
    kinds = torch.stack([colour[0], joined[0]]).unique(dim=1)[0]
    several = kinds[1:][kinds[1:] == kinds[:-1]]
    shared = several[torch.isin(several, colour[1])]
    return [int((side == shared[0]).nonzero()[0]) for side in colour] if shared.numel() else None


def _mixed(numbers: Tensor) -> Tensor:
    """Scrambled, so that sums of them tell sets apart; products wrap around."""
    mixed = (numbers + 1) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 31)) * 0x369DEA0F31A53F85
    return mixed ^ (mixed >> 28)
