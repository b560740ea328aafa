"""One density for each layer, from one number and an allocation or from a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.nn.sparse import SparseModule
from gossamer.patterns import NM, Pattern
from gossamer.registry import did_you_mean
from gossamer.topology import allocate


def densities_by_layer(
    operation: str,
    layers: Mapping[str, nn.Module],
    notes: Mapping[str, str],
    density: float | dict[str, float] | None,
    pattern: Pattern,
    allocation: str | None,
    default: str = "erk",
) -> dict[str, float]:
    """Density by layer.

    Args:
        operation: str - named in errors.
        layers: name -> layer, dense or sparse, that gets one.
        notes: name -> why another one gets none; named where a mapping names it.
        density: float, a mapping, or None where the pattern fixes it.
        pattern: Pattern.
        allocation: str or None - checked; None takes ``default``, and uniform for NM.
        default: str.
    Returns:
        name -> density.
    Raises:
        ConfigError, PatternError, DensityError.
    Cost: O(layers squared).
    """
    if isinstance(density, dict):
        if allocation is not None:
            raise ConfigError(
                operation, expected="allocation=None with a density for each layer", got=repr(allocation)
            )
        _check_names(operation, layers, notes, density)
        return density
    density, allocation = whole_density(operation, density, pattern, allocation)
    shapes = {name: dense_size(layer) for name, layer in layers.items()}
    return allocate(shapes, density, allocation or default)


def whole_density(
    operation: str, density: float | None, pattern: Pattern, allocation: str | None
) -> tuple[float, str | None]:
    """Density and allocation of a whole model, where N:M fixes both."""
    if isinstance(pattern, NM):
        density = pattern.n / pattern.m if density is None else density
        if allocation not in (None, "uniform"):
            raise PatternError(
                operation,
                expected=f"allocation 'uniform' for {pattern}",
                got=repr(allocation),
                hint="N:M fixes every layer's density",
            )
        allocation = "uniform"
    if density is None:
        raise DensityError(
            operation,
            expected="a density in (0, 1]",
            got="None",
            hint="density=0.1 keeps a tenth of the connections; only N:M patterns fix it themselves",
        )
    return density, allocation


def dense_size(layer: Any) -> tuple[int, ...]:
    """The shape of a dense layer's weight, and of what a sparse one stands for."""
    return layer.dense_size if isinstance(layer, SparseModule) else tuple(layer.weight.shape)


def _check_names(
    operation: str, layers: Mapping[str, nn.Module], notes: Mapping[str, str], density: dict[str, float]
) -> None:
    """Refuse a mapping that leaves out a layer, or names another one; raises ConfigError."""
    missing, unknown = [sorted(set(a) - set(b)) for a, b in ((layers, density), (density, layers))]
    if missing or unknown:
        wrong = [("none for", missing), ("one for", unknown)]
        meant = [did_you_mean(name, missing or layers) for name in unknown]
        raise ConfigError(
            f"{operation}(density=)",
            expected=f"one density for each of {', '.join(layers)}",
            got=" and ".join(f"{what} {', '.join(names)}" for what, names in wrong if names),
            hint="; ".join(f"{name}: {notes[name]}" for name in unknown if notes.get(name))
            or next(filter(None, meant), "leave layers dense with skip=, or give them 1.0"),
        )
