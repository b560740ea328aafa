"""Swap the dense layers of any model for sparse ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.nn.conv import MaskedConv2d
from gossamer.nn.linear import MaskedLinear, SparseLinear
from gossamer.nn.sparse import SparseModule
from gossamer.patterns import NM, FanIn, Pattern
from gossamer.topology import Topology, allocate

HOMES = ("packed", "masked")
INITS = ("sparse", "dense", "keep")


@dataclass(frozen=True)
class LayerReport:
    """One row of a SparsifyReport: what a layer became."""

    name: str
    kind: str
    shape: tuple[int, int]
    density: float
    connections: int
    home: str
    bytes: int


@dataclass(frozen=True)
class SparsifyReport:
    """What ``sparsify`` did, layer by layer; print it for a table.

    Args:
        layers: list of LayerReport - every linear and convolution, the ones left dense included.
    """

    layers: list[LayerReport] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """All connections, dense layers included."""
        return sum(layer.connections for layer in self.layers)

    @property
    def density(self) -> float:
        """Share of the dense model's connections."""
        return self.connections / sum(layer.shape[0] * layer.shape[1] for layer in self.layers)

    def __str__(self) -> str:
        lines = [f"{'layer':<24}{'kind':<14}{'shape':>14}{'density':>10}{'connections':>14}{'bytes':>12}  home"]
        lines += [
            f"{r.name:<24}{r.kind:<14}{f'{r.shape[0]}x{r.shape[1]}':>14}{r.density:>10.4f}{r.connections:>14,}{r.bytes:>12,}  {r.home}"
            for r in self.layers
        ]
        return "\n".join([*lines, f"total: {self.connections:,} connections, density {self.density:.4f}"])


def sparsify(
    model: nn.Module,
    density: float | Mapping[str, float] | None = None,
    pattern: Pattern | None = None,
    allocation: str | None = None,
    home: str = "packed",
    generator: torch.Generator | None = None,
    skip: Iterable[str | type[nn.Module]] | Callable[[str, nn.Module], bool] = (),
    dense_first: bool = False,
    dense_last: bool = False,
    init: str = "sparse",
) -> SparsifyReport:
    """Replace ``nn.Linear`` and ``nn.Conv2d`` layers in place by sparse ones of the same shape, device and dtype.

    Args:
        model: nn.Module - changed in place; create the optimizer afterwards.
        density: float in (0, 1] for the whole, or a mapping layer name -> density; None takes n / m of an NM pattern.
        pattern: Pattern - FanIn() by default.
        allocation: "uniform", "er" or "erk"; None is uniform for NM (it has no other) and erk else.
        home: "packed" (truly sparse) or "masked"; convolutions have no packed home yet and are masked, as the report says.
        generator: torch.Generator or None - draws topologies and values.
        skip: names or types to leave dense, or a function (name, module) -> bool.
        dense_first, dense_last: bool - leave the first or last of the candidates dense.
        init: "sparse" or "dense" draws new values for that fan-in; "keep" keeps the dense values at the drawn topology.
    Returns:
        SparsifyReport.
    Raises:
        DensityError, PatternError, ConfigError - before anything is changed.
    Cost: O(connections) memory and time beyond the dense model that is already there.
    Source: RigL (Evci et al. 2020) for the allocations.
    Example:
        >>> model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
        >>> report = sparsify(model, density=0.1, pattern=FanIn(), dense_last=True)
        >>> type(model[0]).__name__, report.connections
        ('SparseLinear', 26400)
    """
    for name, value, allowed in (("home", home, HOMES), ("init", init, INITS)):
        if value not in allowed:
            raise ConfigError(f"sparsify({name}=)", expected=f"one of {', '.join(allowed)}", got=repr(value))
    pattern = pattern or FanIn()
    named = _dense_layers(model)
    chosen = _chosen(named, skip, dense_first, dense_last)
    densities = _densities(chosen, density, pattern, allocation)
    swapped = {
        name: _sparse_twin(module, densities[name], pattern, home, generator, init)
        for name, module in chosen.items()
        if densities[name] < 1.0
    }
    _replace(model, {id(named[name]): layer for name, layer in swapped.items()})
    return SparsifyReport([_row(name, swapped.get(name, module)) for name, module in named.items()])


def _dense_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Plain linear and convolution layers by name; subclasses are left alone, for they may use their weight otherwise."""
    layers = {name: module for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Conv2d)}
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        module = name.rpartition(".")[0]
        if owners.setdefault(id(parameter), name) != name and module in layers:
            raise PatternError(
                "sparsify",
                expected="layers with a weight of their own",
                got=f"{name} tied to {owners[id(parameter)]}",
                hint="untie the weights, or leave both layers out with skip=",
            )
    return layers


def _chosen(
    layers: dict[str, nn.Module],
    skip: Iterable[str | type[nn.Module]] | Callable[[str, nn.Module], bool],
    dense_first: bool,
    dense_last: bool,
) -> dict[str, nn.Module]:
    """The layers to make sparse."""
    if callable(skip) and not isinstance(skip, type):
        leave = skip
    else:
        entries = [skip] if isinstance(skip, (str, type)) else list(skip)
        if missing := [e for e in entries if isinstance(e, str) and e not in layers]:
            raise ConfigError("sparsify(skip=)", expected=f"layers among {', '.join(layers)}", got=", ".join(missing))
        leave = lambda name, module: name in entries or type(module) in entries  # noqa: E731
    names = list(layers)
    ends = {*names[: int(dense_first)], *(names[-1:] if dense_last else [])}
    chosen = {name: module for name, module in layers.items() if name not in ends and not leave(name, module)}
    if not chosen:
        raise ConfigError("sparsify", expected="at least one nn.Linear or nn.Conv2d to replace", got="none", hint="see skip=")
    return chosen


def _densities(
    layers: dict[str, nn.Module], density: float | Mapping[str, float] | None, pattern: Pattern, allocation: str | None
) -> dict[str, float]:
    """Density by layer, from one number and an allocation or from a mapping."""
    if isinstance(density, Mapping):
        if missing := sorted(set(layers) ^ set(density)):
            raise ConfigError(
                "sparsify(density=)", expected=f"one density for each of {', '.join(layers)}", got=f"mismatch in {missing}"
            )
        return dict(density)
    if isinstance(pattern, NM):
        density = pattern.n / pattern.m if density is None else density
        if allocation not in (None, "uniform"):
            raise PatternError(
                "sparsify", expected=f"allocation 'uniform' for {pattern}", got=repr(allocation), hint="N:M fixes every layer's density"
            )
        allocation = "uniform"
    if density is None:
        raise DensityError("sparsify", expected="a density in (0, 1]", got="None", hint="only NM brings its own")
    return allocate({name: tuple(m.weight.shape) for name, m in layers.items()}, density, allocation or "erk")


def _sparse_twin(
    module: nn.Module, density: float, pattern: Pattern, home: str, generator: torch.Generator | None, init: str
) -> SparseModule:
    """The sparse layer that takes a dense one's place."""
    weight, bias = module.weight, module.bias
    drawn = {"density": density, "pattern": pattern, "generator": generator, "fan_in": "dense" if init == "dense" else "sparse"}
    layer: SparseModule
    if isinstance(module, nn.Conv2d):
        layer = MaskedConv2d(module, **drawn)
    else:
        kind = SparseLinear if home == "packed" else MaskedLinear
        out, inp = weight.shape
        layer = kind(inp, out, bias is not None, device=weight.device, dtype=weight.dtype, **drawn)
    if init == "keep":
        _keep_values(layer, module)
    layer.train(module.training)
    return layer.requires_grad_(weight.requires_grad)


def _keep_values(layer: SparseModule, module: nn.Module) -> None:
    """Take the dense layer's values at the drawn topology, and its bias."""
    topology: Topology = layer.topology
    dense = module.weight.detach().cpu()
    matrix = layer.to_matrix(dense) if isinstance(layer, MaskedConv2d) else dense
    layer.assign(topology, layer.pattern.pack(matrix, topology.positions, layer.grid))
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(module.bias)


def _replace(model: nn.Module, swapped: dict[int, SparseModule]) -> None:
    """Put the new layers wherever the old ones are registered, shared ones in every place."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in swapped:
                parent._modules[name] = swapped[id(child)]


def _row(name: str, module: nn.Module) -> LayerReport:
    """The report of one layer; bytes count values, indices and bias."""
    size = sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
    if isinstance(module, SparseModule):
        connections, shape, home = module.connections, module.shape, module.home
    else:
        connections, home = module.weight.numel(), "dense"
        shape = (module.weight.shape[0], module.weight[0].numel())
    return LayerReport(name, type(module).__name__, shape, connections / (shape[0] * shape[1]), connections, home, size)
