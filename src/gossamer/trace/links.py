"""Which sparse layer reads which: needed where removing a neuron concerns the layers on both of its sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gossamer.network.graph import Call, Graph, Node, Opaque
from gossamer.network.neighbours import Link, link
from gossamer.network.operators import Unsupported
from gossamer.nn.sparse import SparseModule
from gossamer.trace.read import call_of, connections_of, linear, operator_of
from gossamer.trace.tensors import array_of, tensor_of

SHIFTING = (
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)  # in training a constant does not keep its mean behind them


def links(model: nn.Module) -> list[Link]:
    """Pairs of sparse linear layers of which the second reads the first alone, as ``nn.Sequential`` shows them.

    Args:
        model: nn.Module - Sequentials anywhere in it, nested ones too.
    Returns:
        list of Link.
    Cost: O(modules), and O(their number) more for each in one Sequential.
    Example:
        >>> from gossamer.nn import SparseLinear
        >>> layers = [SparseLinear(8, 8, density=0.5) for _ in range(2)]
        >>> [(each.source, each.reader) for each in links(nn.Sequential(layers[0], nn.ReLU(), layers[1]))]
        [('0', '2')]
    """
    found: dict[str, Link] = {}
    uses = Counter(id(child) for module in model.modules() for child in module._modules.values())  # noqa: SLF001
    for name, module in model.named_modules():
        if type(module) is nn.Sequential:
            steps = dict(_steps(module, name))
            layers = {each for each, step in steps.items() if _is_layer(step) and uses[id(step)] == 1}
            graph = _in_row(steps)
            found |= {each: one for each in layers if (one := link(graph, each, layers)) is not None}
    return list(found.values())


def _steps(module: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) in order of computation, Sequentials opened."""
    for key, child in module._modules.items():  # noqa: SLF001 (named_children leaves out repeats)
        name = f"{prefix}.{key}" if prefix else key
        if type(child) is nn.Sequential:
            yield from _steps(child, name)
        elif child is not None:
            yield name, child


def _in_row(steps: dict[str, nn.Module]) -> Graph:
    """A graph of names, each read by the next; layers are not read."""
    read, nodes = "", list[Node]()
    for name, step in steps.items():
        nodes.append(Node(name, (read,), _body(step)))
        read = name
    return Graph(("",), tuple(nodes), read)


def _body(module: nn.Module) -> Call | Opaque:
    """The operator of a module, whatever hooks look on; what is none of the list, or shifts constants, is opaque."""
    known = operator_of(type(module)) is not None and not isinstance(module, (SparseModule, *SHIFTING))
    try:
        return call_of(module) if known else Opaque(type(module).__name__, module)
    except (Unsupported, ValidationError):
        return Opaque(type(module).__name__, module)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, SparseModule) and linear(module)


@torch.no_grad()
def fold(given: Link, source: SparseModule, reader: SparseModule, dead: Tensor) -> None:
    """Move what dead neurons give to their reader into its bias, if it has one; their connections may then be dropped.

    Args:
        given: Link.
        source: SparseModule - the layer of the dead neurons.
        reader: SparseModule - as it is before the update.
        dead: [neurons of source], bool.
    Cost: O(connections of the reader).
    """
    if reader.bias is None:
        return
    bias = source.weights.new_zeros(source.shape[0]) if source.bias is None else source.bias
    constants = torch.where(dead, given.constants(bias.detach()).cpu().double(), 0.0)
    shift = connections_of(reader).given(array_of(constants))
    reader.bias.add_(tensor_of(shift).to(reader.bias))
