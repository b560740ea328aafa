"""Swap the dense layers of any model for sparse ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.nn.conv import MaskedConv2d
from gossamer.nn.dense import DenseLinear
from gossamer.nn.init import LAWS
from gossamer.nn.linear import MaskedLinear, SparseLinear
from gossamer.nn.report import LayerReport, SparsifyReport
from gossamer.nn.sparse import SparseModule, check_model_state
from gossamer.patterns import NM, FanIn, Pattern
from gossamer.topology import allocate

HOMES = ("packed", "masked")
INITS = ("sparse", "dense", "keep")
Dense = nn.Linear | nn.Conv2d
Named = str | type[nn.Module] | Iterable[str | type[nn.Module]]
Skip = Named | Callable[[str, nn.Module], bool]


def sparsify(
    model: nn.Module,
    density: float | Mapping[str, float] | None = None,
    pattern: Pattern | None = None,
    allocation: str | None = None,
    home: str = "packed",
    generator: torch.Generator | None = None,
    skip: Skip = (),
    dense_first: bool = False,
    dense_last: bool = False,
    init: str = "sparse",
    law: str = "he_normal",
    device: torch.device | str | None = None,
) -> SparsifyReport:
    """Replace ``nn.Linear`` and ``nn.Conv2d`` layers in place by sparse ones of the same shape, device and dtype.

    Args:
        model: nn.Module - changed in place; create the optimizer afterwards.
        density: float in (0, 1] for the whole, or a mapping layer name -> density; None takes n / m of an NM pattern.
        pattern: Pattern - FanIn() by default.
        allocation: "uniform", "er" or "erk"; None is uniform for NM (it has no other) and erk else.
        home: "packed" (truly sparse) or "masked"; convolutions have no packed home yet: the report says masked.
        generator: torch.Generator or None - draws topologies and values.
        skip: names or types to leave dense, or a function (name, module) -> bool.
        dense_first: bool - leave the first of the candidates dense.
        dense_last: bool - leave the last of the candidates dense.
        init: "sparse" or "dense" draws new values for that fan-in; "keep" keeps the dense values at the drawn topology.
        law: "he_normal", "he_uniform", "xavier_uniform" or "normal" - what new values are drawn from; see SparseLinear.
        device: where sparse linear layers are made; None is where the dense ones are. A model on "meta", too wide to
            exist, gets sparse layers that do; what stays dense stays on "meta".
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
    for name, value, allowed in (("home", home, HOMES), ("init", init, INITS), ("law", law, LAWS)):
        if value not in allowed:
            raise ConfigError(f"sparsify({name}=)", expected=f"one of {', '.join(allowed)}", got=repr(value))
    pattern = pattern or FanIn()
    named = _dense_layers(model)
    chosen = _chosen(named, skip, dense_first, dense_last)
    _refuse_tied(model, chosen)
    densities = _densities(chosen, density, pattern, allocation)
    _check_fit(chosen, densities, pattern)
    swapped: dict[str, SparseModule | DenseLinear] = {
        name: _sparse_twin(module, densities[name], pattern, home, generator, init, law, device)
        for name, module in chosen.items()
        if densities[name] < 1.0
    }
    if swapped and home == "packed":  # what sparse layers write is feature-major
        full = {name: module for name, module in chosen.items() if name not in swapped}
        swapped |= {name: DenseLinear.of(m) for name, m in full.items() if isinstance(m, nn.Linear)}
    _replace(model, {id(named[name]): layer for name, layer in swapped.items()})
    _leave_fused_paths(model)
    model.register_load_state_dict_pre_hook(check_model_state)  # all or nothing, across layers too
    return SparsifyReport([LayerReport.of(name, swapped.get(name, module)) for name, module in named.items()])


def _dense_layers(model: nn.Module) -> dict[str, Dense]:
    """Plain linear and convolution layers by name; subclasses may use their weight otherwise and are left alone."""
    kinds = (nn.Linear, nn.Conv2d)
    named = model.named_modules()
    return {name: module for name, module in named if isinstance(module, kinds) and type(module) in kinds}


def _refuse_tied(model: nn.Module, chosen: Mapping[str, Dense]) -> None:
    """A weight used by two modules cannot be sparse in one of them; a module registered twice is still one."""
    owners: dict[int, tuple[str, str]] = {}
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(module_name, recurse=False):
            first, owner = owners.setdefault(id(parameter), (parameter_name, module_name))
            if first != parameter_name and (module_name in chosen or owner in chosen):
                raise PatternError(
                    "sparsify",
                    expected="layers with a weight of their own",
                    got=f"{parameter_name} tied to {first}",
                    hint="untie the weights, or leave the layers out with skip=",
                )


def _chosen(layers: dict[str, Dense], skip: Skip, dense_first: bool, dense_last: bool) -> dict[str, Dense]:
    """The layers to make sparse."""
    leave = _named_or_typed(layers, skip) if isinstance(skip, (Iterable, type)) else skip
    names = list(layers)
    ends = {*names[: int(dense_first)], *(names[-1:] if dense_last else [])}
    chosen = {name: module for name, module in layers.items() if name not in ends and not leave(name, module)}
    if not chosen:
        raise ConfigError(
            "sparsify",
            expected="at least one nn.Linear or nn.Conv2d to replace",
            got="none",
            hint="see skip=",
        )
    return chosen


def _named_or_typed(layers: dict[str, Dense], skip: Named) -> Callable[[str, nn.Module], bool]:
    """A filter from names and types; a name that is no layer is refused."""
    entries = [skip] if isinstance(skip, (str, type)) else list(skip)
    if missing := [entry for entry in entries if isinstance(entry, str) and entry not in layers]:
        raise ConfigError(
            "sparsify(skip=)", expected=f"layers among {', '.join(layers)}", got=", ".join(missing)
        )
    return lambda name, module: name in entries or type(module) in entries


def _densities(
    layers: dict[str, Dense],
    density: float | Mapping[str, float] | None,
    pattern: Pattern,
    allocation: str | None,
) -> dict[str, float]:
    """Density by layer, from one number and an allocation or from a mapping."""
    if isinstance(density, Mapping):
        if missing := sorted(set(layers) ^ set(density)):
            raise ConfigError(
                "sparsify(density=)",
                expected=f"one density for each of {', '.join(layers)}",
                got=f"mismatch in {missing}",
            )
        for name, value in density.items():
            if not 0 < value <= 1:
                raise DensityError(
                    f"sparsify(density=) for {name}", expected="a density in (0, 1]", got=str(value)
                )
        return dict(density)
    if isinstance(pattern, NM):
        density = pattern.n / pattern.m if density is None else density
        if allocation not in (None, "uniform"):
            raise PatternError(
                "sparsify",
                expected=f"allocation 'uniform' for {pattern}",
                got=repr(allocation),
                hint="N:M fixes every layer's density",
            )
        allocation = "uniform"
    if density is None:
        raise DensityError(
            "sparsify", expected="a density in (0, 1]", got="None", hint="only NM brings its own"
        )
    return allocate({name: tuple(m.weight.shape) for name, m in layers.items()}, density, allocation or "erk")


def _check_fit(layers: Mapping[str, Dense], densities: Mapping[str, float], pattern: Pattern) -> None:
    """Every layer can have its density under the pattern; an error names the layer."""
    for name, layer in layers.items():
        try:
            if densities[name] < 1.0:
                pattern.budget(densities[name], (layer.weight.shape[0], layer.weight[0].numel()))
        except (PatternError, DensityError) as error:
            raise error.within(f"sparsify {name}") from None


def _sparse_twin(
    module: Dense,
    density: float,
    pattern: Pattern,
    home: str,
    generator: torch.Generator | None,
    init: str,
    law: str,
    device: torch.device | str | None,
) -> SparseModule:
    """The sparse layer that takes a dense one's place."""
    fan_in = "dense" if init == "dense" else "sparse"
    layer: SparseModule
    if isinstance(module, nn.Conv2d):
        layer = MaskedConv2d(
            module, density=density, pattern=pattern, generator=generator, fan_in=fan_in, law=law
        )
    else:
        layer = (SparseLinear if home == "packed" else MaskedLinear)(
            module.in_features,
            module.out_features,
            module.bias is not None,
            density=density,
            pattern=pattern,
            generator=generator,
            fan_in=fan_in,
            law=law,
            device=device or module.weight.device,
            dtype=module.weight.dtype,
        )
    if init == "keep":
        _keep_values(layer, module)
    layer.train(module.training)
    return layer.requires_grad_(module.weight.requires_grad)


def _keep_values(layer: SparseModule, module: Dense) -> None:
    """Take the dense layer's values at the drawn topology, and its bias."""
    topology, dense = layer.topology, layer.to_matrix(module.weight.detach()).cpu()
    layer.assign(topology, layer.pattern.pack(dense, topology.positions, layer.grid))
    if layer.bias is not None and module.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(module.bias)


def _replace(model: nn.Module, swapped: Mapping[int, nn.Module]) -> None:
    """Put the new layers wherever the old ones are registered, shared ones in every place."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # noqa: SLF001 (named_children leaves out repeats)
            if child is not None and id(child) in swapped:
                parent._modules[name] = swapped[id(child)]  # noqa: SLF001


def _leave_fused_paths(model: nn.Module) -> None:
    """Torch's fused transformer for evaluation reads dense weights behind the layers' back: switch it off."""
    for module in model.modules():
        if not any(isinstance(part, SparseModule) for part in module.modules()):
            continue
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # what torch looks at to see whether its fused path applies
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
