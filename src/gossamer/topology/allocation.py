"""How one global density is spread over the layers of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from gossamer.errors import ConfigError, DensityError
from gossamer.registry import check_choice, check_names

ALLOCATIONS = ("uniform", "er", "erk")


def allocate(
    shapes: Mapping[str, Sequence[int]],
    density: float,
    allocation: str = "erk",
    custom: Mapping[str, float] | None = None,
    power: float = 1.0,
) -> dict[str, float]:
    """Density of every layer for a global density.

    Args:
        shapes: name -> weight shape, ``(out, in)`` or ``(out, in, kh, kw)``.
        density: float in (0, 1] - share of all connections that exist.
        allocation: "uniform", "er" (Erdos-Renyi: in + out over in * out) or "erk" (ER with kernel sizes).
        custom: name -> density fixed by hand; those layers are left out of the sum.
        power: float - exponent of the raw ER score, 1 in the paper.
    Returns:
        name -> density; 1.0 where a layer has to stay dense.
    Raises:
        DensityError, ConfigError.
    Cost: O(layers squared).
    Source: RigL (Evci et al. 2020), section 3 (1) and the solver of the authors' code.
    Example:
        >>> d = allocate({"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}, 0.02)
        >>> [round(v, 5) for v in d.values()]
        [0.01539, 0.04453, 0.3674]
    """
    if not 0 < density <= 1:
        raise DensityError("allocate", expected="a density in (0, 1]", got=str(density))
    check_choice("allocate", allocation, ALLOCATIONS)
    custom = dict(custom or {})
    check_names("allocate(custom=)", custom, "layers", shapes)
    for name, fixed in custom.items():
        if not 0 < fixed <= 1:
            raise DensityError(
                f"allocate(custom=) for {name}", expected="a density in (0, 1]", got=str(fixed)
            )
    if allocation == "uniform":
        return {name: custom.get(name, density) for name in shapes}
    raw = {name: _raw_score(shape, allocation, power) for name, shape in shapes.items()}
    return _solve({name: prod(shape) for name, shape in shapes.items()}, raw, density, custom)


def erdos_renyi(shapes: Mapping[str, Sequence[int]], epsilon: float) -> dict[str, float]:
    """Density of every layer for ``epsilon * (in + out)`` connections each, as SET counts them.

    Args:
        shapes: name -> weight shape, ``(out, in)``.
        epsilon: float > 0 - connections for each neuron at either end of a layer.
    Returns:
        name -> density, for ``sparsify(density=)``; 1.0 where the count exceeds the dense layer.
    Raises:
        ConfigError: epsilon is not positive.
    Cost: O(layers).
    Source: Mocanu et al. 2018, equation 1.
    Example:
        >>> densities = erdos_renyi({"fc1": (1000, 784), "fc2": (10, 1000)}, 20)
        >>> round(densities["fc1"] * 784_000), densities["fc2"]
        (35680, 1.0)
    """
    if not epsilon > 0:
        raise ConfigError("erdos_renyi", expected="epsilon > 0", got=str(epsilon))
    return {name: min(1.0, epsilon * _raw_score(shape, "er", 1.0)) for name, shape in shapes.items()}


def _raw_score(shape: Sequence[int], allocation: str, power: float) -> float:
    """Sum / product of the dimensions: all of them (ERK) or outputs and inputs only (ER)."""
    dims = shape if allocation == "erk" else shape[:2]
    return float((sum(dims) / prod(dims)) ** power)


def _solve(
    sizes: Mapping[str, int], raw: Mapping[str, float], density: float, custom: Mapping[str, float]
) -> dict[str, float]:
    """Find eps with ``sum(eps * raw * size) = budget``, forcing layers dense while one would exceed density 1."""
    dense: set[str] = set()
    while True:
        budget = divisor = 0.0
        for name, size in sizes.items():
            zeros = int((1 - density) * size)
            if name in dense:
                budget -= zeros
            elif name not in custom:
                budget += size - zeros
                divisor += raw[name] * size
        free = [name for name in sizes if name not in dense and name not in custom]
        if not free:
            break
        eps, top = budget / divisor, max(raw[name] for name in free)
        if eps * top <= 1:
            break
        dense |= {name for name in free if raw[name] == top}
    return {
        name: custom[name] if name in custom else 1.0 if name in dense else eps * raw[name] for name in sizes
    }
