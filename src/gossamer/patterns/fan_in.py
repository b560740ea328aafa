"""Constant fan-in: every active neuron has the same number of inputs; stored as a rectangle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ConfigError, DensityError
from gossamer.layouts.fanin import GROUPS
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import (
    Pattern,
    Shape,
    patterns,
    whole,
)


@patterns.register("fanin")
@dataclass(frozen=True)
class FanIn(Pattern):
    """Every active neuron has k inputs; ``group`` neighbouring neurons share the same k.

    Args:
        group: int - 1, 2, 4, 8, 16 or 32 neighbouring neurons that read the same inputs; fast for batches from 4 on.
    Source: SRigL (Lasby et al., ICLR 2024), constant fan-in.
    Example:
        >>> p = FanIn(); p.budget(0.01, (300, 784)), p.quotas(2352, p.grid((300, 784)))[0].item()
        (2352, 7)
    """

    group: int = 1
    layout = "fanin"

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ConfigError("FanIn", expected="group 1, 2, 4, 8, 16 or 32", got=str(self.group))

    def __str__(self) -> str:
        return self.name if self.group == 1 else f"{self.name}:{self.group}"

    @property
    def parameters(self) -> dict[str, int]:
        """The size of a group."""
        return {"group": self.group}

    @property
    def unit(self) -> tuple[int, int]:  # type: ignore[override]
        """A position shared by ``group`` neurons."""
        return (self.group, 1)

    def bucket(self, grid: Grid) -> int:
        """A neuron (or group of neurons) is a bucket."""
        return grid.cols

    def budget(self, density: float, shape: Shape) -> int:
        """``floor(density * size)`` in units of a group; every neuron must keep at least one input."""
        grid = self.grid(shape)
        units = whole(density * shape[0] * shape[1]) // grid.members if 0 < density <= 1 else 0
        if units < grid.rows:
            raise DensityError(
                f"{self} on {shape}",
                expected=f"a density from {1 / grid.cols:.3g} (one input a neuron) to 1",
                got=str(density),
                hint="raise the density, use Unstructured, or leave the layer out with skip=",
            )
        return units

    def quotas(self, units: int, grid: Grid) -> Tensor:
        """``units // rows`` inputs for every neuron."""
        return torch.full((grid.rows,), units // grid.rows, dtype=torch.int64)

    def check_counts(self, counts: Tensor, grid: Grid) -> str:
        """Active neurons must agree on their fan-in."""
        active = counts[counts > 0]
        if active.numel() == 0 or int(active.min()) == int(active.max()):
            return ""
        return f"fan-ins from {int(active.min())} to {int(active.max())}"
