"""Which sparse layer reads which: needed where removing a neuron concerns the layers on both of its sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gossamer.nn.activations import AllReLU, Dropout
from gossamer.nn.linear import MaskedLinear, SparseLinear
from gossamer.nn.sparse import SparseModule

# Number by number, the same in training and in evaluation but for dropout.
ELEMENTWISE = (AllReLU, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
OFF = (nn.Identity, nn.Dropout, Dropout)  # nothing in evaluation


@dataclass(frozen=True, eq=False)
class Link:
    """Two linear layers in a row.

    Args:
        source: str - name of the layer whose outputs are read.
        activations: tuple of modules that act on them, number by number.
        reader: str - name of the only layer that reads them.
    """

    source: str
    activations: tuple[nn.Module, ...]
    reader: str

    def constants(self, bias: Tensor) -> Tensor:
        """[neurons]: what neurons of the source layer without inputs give to the reader."""
        for activation in self.activations:
            bias = activation.bend(bias) if isinstance(activation, AllReLU) else activation(bias)
        return bias


def links(model: nn.Module) -> list[Link]:
    """Pairs of sparse linear layers of which the second reads the first alone, as ``nn.Sequential`` shows them.

    Args:
        model: nn.Module - Sequentials anywhere in it, nested ones too.
    Returns:
        list of Link.
    Cost: O(modules).
    Example:
        >>> layers = [SparseLinear(8, 8, density=0.5) for _ in range(2)]
        >>> [(link.source, link.reader) for link in links(nn.Sequential(layers[0], nn.ReLU(), layers[1]))]
        [('0', '2')]
    """
    found: dict[str, Link] = {}
    uses = Counter(id(child) for module in model.modules() for child in module._modules.values())  # noqa: SLF001
    for name, module in model.named_modules():
        if type(module) is nn.Sequential:
            for link in _in_row(list(_steps(module, name)), uses):
                found[link.source] = link
    return list(found.values())


def _steps(module: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) in order of computation, Sequentials opened."""
    for key, child in module._modules.items():  # noqa: SLF001 (named_children leaves out repeats)
        name = f"{prefix}.{key}" if prefix else key
        if type(child) is nn.Sequential:
            yield from _steps(child, name)
        elif child is not None:
            yield name, child


def _in_row(steps: list[tuple[str, nn.Module]], uses: Counter[int]) -> Iterator[Link]:
    """Links among steps; a layer that is used twice has none."""
    source, activations = "", list[nn.Module]()
    for name, module in steps:
        if type(module) in (SparseLinear, MaskedLinear) and uses[id(module)] == 1:
            if source:
                yield Link(source, tuple(activations), name)
            source, activations = name, []
        elif type(module) in ELEMENTWISE:
            activations.append(module)
        elif type(module) not in OFF:
            source = ""


@torch.no_grad()
def fold(link: Link, source: SparseModule, reader: SparseModule, dead: Tensor) -> None:
    """Move what dead neurons give to their reader into its bias, if it has one; their connections may then be dropped.

    Args:
        link: Link.
        source: SparseModule - the layer of the dead neurons.
        reader: SparseModule - as it is before the update.
        dead: [neurons of source], bool.
    Cost: O(connections of the reader).
    """
    bias = source.weights.new_zeros(source.shape[0]) if source.bias is None else source.bias
    given = torch.where(dead, link.constants(bias.detach()).cpu().double(), 0.0)
    positions = reader.topology.positions
    shift = torch.zeros(reader.shape[0], dtype=torch.float64)
    weights = reader.unit_values().squeeze(1).double()
    shift.index_add_(0, positions // reader.shape[1], weights * given[positions % reader.shape[1]])
    if reader.bias is not None:
        reader.bias.add_(shift.to(reader.bias))
