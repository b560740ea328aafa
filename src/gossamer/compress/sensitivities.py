"""How much each layer can lose by itself: accuracy against density, one layer at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from gossamer.compress.pruning import prune
from gossamer.errors import ConfigError, DensityError, NonFiniteError, PatternError
from gossamer.nn import arguments
from gossamer.nn.candidates import check_model, why_left
from gossamer.nn.kinds import dense_kind

DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class Point:
    """One layer at one density, the others as they are.

    Args:
        layer: str - its name; "" for the model as it is.
        density: float in (0, 1].
        accuracy: float - whatever was measured.
    """

    layer: str
    density: float
    accuracy: float


def sensitivity(
    model: nn.Module,
    evaluate: Callable[[nn.Module], float],
    densities: Iterable[float] = DENSITIES,
    **pruning: Any,
) -> Iterator[Point]:
    """Prune one layer of a copy at a time, and measure it.

    Layers that fall steeply want more connections than others, by a mapping for ``gossamer.prune``, or none taken away.

    Args:
        model: nn.Module - not changed; its dense linear layers and convolutions are looked at.
        evaluate: (model in evaluation mode) -> float, such as the accuracy.
        densities: floats in (0, 1) - each is measured in every layer.
        pruning: further arguments of ``gossamer.prune``, such as ``pattern`` and ``score``.
    Yields:
        Point - of the model as it is first, then layer by layer; a density that a layer cannot have is left out.
    Raises:
        ConfigError, DensityError, NonFiniteError - and what ``prune`` and ``evaluate`` raise.
    Cost: a copy of the model, a prune and an evaluation for each layer and density.
    Source: Li et al. 2017, pruning filters; Han et al. 2015.
    Example:
        >>> import torch
        >>> model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(16, 8)
        >>> points = list(sensitivity(model, lambda m: float(m(x).square().mean().detach()), [0.5, 0.25]))
        >>> [(point.layer, point.density) for point in points]
        [('', 1.0), ('0', 0.5), ('0', 0.25), ('2', 0.5), ('2', 0.25)]
    """
    check_model(model, "sensitivity")
    wanted = [arguments.density_of(each, "sensitivity(densities=)") for each in densities]
    names = [n for n, m in model.named_modules() if dense_kind(m) and not why_left(m, "keep", None)]
    if not names:
        raise ConfigError("sensitivity", expected="dense linear layers or convolutions", got="none")
    return _points(model, evaluate, wanted, names, pruning)


def _points(
    model: nn.Module,
    evaluate: Callable[[nn.Module], float],
    wanted: list[float],
    names: list[str],
    pruning: dict[str, Any],
) -> Iterator[Point]:
    """The measurements, as they come."""
    yield Point("", 1.0, _measured(copy.deepcopy(model), evaluate, "the model"))
    for name in names:
        for density in wanted:
            one = copy.deepcopy(model)
            others = [other for other in names if other != name]
            try:
                prune(one, {name: density}, skip=others, **pruning)
            except (DensityError, PatternError):  # not in this layer; others may have it
                continue
            yield Point(name, density, _measured(one, evaluate, name))


def _measured(model: nn.Module, evaluate: Callable[[nn.Module], float], name: str) -> float:
    """What is measured of a copy; raises NonFiniteError."""
    found = float(evaluate(model.eval()))
    if not math.isfinite(found):
        raise NonFiniteError(f"sensitivity of {name}", expected="a finite number", got=str(found))
    return found
