"""What travels in asynchronous training: one flat vector of parameters, and differences of topologies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, TopologyError
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule
from gossamer.parallel.protocol import Letter
from gossamer.patterns.base import merge
from gossamer.topology import Topology, TopologyChange

Topologies = list[Topology]


class Flat:
    """The trained parameters of a model as one vector on the CPU; sparse layers by their connections.

    Args:
        model: nn.Module - packed layers and ordinary ones.
    Raises:
        ConfigError: masked layers, whose messages would be dense, running statistics, or several dtypes.
    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(gs.SparseLinear(64, 32, density=0.25), nn.ReLU(), nn.Linear(32, 10))
        >>> Flat(model).size == 64 * 32 // 4 + 32 + 32 * 10 + 10
        True
    """

    def __init__(self, model: nn.Module) -> None:
        _refuse(model)
        self.layers = [
            layer for layer in model.modules() if isinstance(layer, Packed) and layer.weights.requires_grad
        ]
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.size, self.dtype = sum(self.sizes), self.parameters[0].dtype
        begins = {id(p): sum(self.sizes[:n]) for n, p in enumerate(self.parameters)}
        self.places = [
            slice(begins[id(layer.weights)], begins[id(layer.weights)] + layer.weights.numel())
            for layer in self.layers
        ]

    def topologies(self) -> Topologies:
        """The connections of every sparse layer now."""
        return [layer.topology for layer in self.layers]

    def letter(self) -> Letter:
        """A message with room for all parameters."""
        return Letter(self.size, self.dtype)

    def write_values(self, flat: Tensor) -> None:
        """Copy all parameters to a vector."""
        torch.cat([parameter.detach().reshape(-1).cpu() for parameter in self.parameters], out=flat)

    def write_gradients(self, flat: Tensor) -> None:
        """Copy all gradients to a vector, zero where there is none."""
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        torch.cat([part.detach().reshape(-1).cpu() for part in parts], out=flat)

    def set_gradients(self, flat: Tensor) -> None:
        """Make a vector the gradients."""
        for parameter, part in zip(self.parameters, flat.split(self.sizes), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.device)

    @torch.no_grad()
    def set_values(self, flat: Tensor, topologies: Topologies | None = None) -> None:
        """Make a vector the parameters, in the order of these topologies where they are new."""
        for parameter, part in zip(self.parameters, flat.split(self.sizes), strict=True):
            parameter.copy_(part.view_as(parameter))
        if topologies is not None:
            for layer, place, topology in zip(self.layers, self.places, topologies, strict=True):
                layer.assign(topology, flat[place][: topology.connections])

    def retain(self, flat: Tensor, old: Topologies, new: Topologies) -> None:
        """RetainValidUpdates, in place: entries of connections that are gone are dropped, new ones get zero.

        Source: Curci et al. 2021, WASAP-SGD, algorithm 1.
        """
        for place, before, after in zip(self.places, old, new, strict=True):
            TopologyChange.between(before, after).remap_(flat[place])


def encode(old: Topologies, new: Topologies) -> Tensor:
    """Differences of topologies: for each layer two counts, indices dropped from the old order, positions grown.

    Args:
        old: list of Topology - one a layer.
        new: list of Topology - of the same layers.
    Returns:
        [2 * layers + dropped + grown], int64.
    Cost: O(n log n) in connections.
    Example:
        >>> from gossamer.patterns import Unstructured
        >>> a, b = (Topology(Unstructured(), (1, 4), torch.tensor(p)) for p in ([0, 2], [2, 3]))
        >>> encode([a], [b]).tolist(), decode([a], encode([a], [b]))[0].positions.tolist()
        ([1, 1, 0, 3], [2, 3])
    """
    parts = []
    for before, after in zip(old, new, strict=True):
        dropped = (TopologyChange.between(after, before).source < 0).nonzero().squeeze(1)
        grown = after.positions[TopologyChange.between(before, after).source < 0]
        parts += [torch.tensor([dropped.numel(), grown.numel()]), dropped, grown]
    return torch.cat(parts)


def decode(old: Topologies, message: Tensor) -> Topologies:
    """The inverse of ``encode``; raises TopologyError where a message does not fit.

    Cost: O(n log n) in connections.
    """
    new, done = [], 0
    for before in old:
        counts = message[done : done + 2].tolist()
        sizes = [2, *counts, message.numel() - done - 2 - sum(counts)]
        if len(counts) < 2 or min(sizes) < 0:
            raise TopologyError(
                "topology message",
                expected="for each layer two counts, followed by as many indices",
                got=str(counts),
            )
        _, dropped, grown, _ = message[done:].split(sizes)
        kept = torch.ones(before.positions.numel(), dtype=torch.bool)
        kept[dropped] = False
        after = Topology(before.pattern, before.shape, merge(before.positions[kept], grown))
        after.pattern.validate(after.positions, after.grid)
        new.append(after)
        done += 2 + sum(counts)
    return new


def _refuse(model: nn.Module) -> None:
    """Refuse what asynchronous messages do not carry."""
    masked = [
        name for name, m in model.named_modules() if isinstance(m, SparseModule) and not isinstance(m, Packed)
    ]
    statistics = [
        f"{name}.{buffer}"
        for name, m in model.named_modules()
        if not isinstance(m, SparseModule)
        for buffer, tensor in m.named_buffers(recurse=False)
        if tensor.is_floating_point()
    ]
    dtypes = sorted({str(parameter.dtype) for parameter in model.parameters() if parameter.requires_grad})
    problems = {
        "packed layers, for messages hold connections only": masked,
        "a model without running statistics, e.g. with LayerNorm": statistics,
        "trainable parameters of one dtype": dtypes if len(dtypes) != 1 else [],
    }
    for expected, got in problems.items():
        if got or (expected.startswith("trainable") and not dtypes):
            raise ConfigError(
                "WASAP",
                expected=expected,
                got=", ".join(got[:3]) or "none",
                hint="train it with data_parallel",
            )
