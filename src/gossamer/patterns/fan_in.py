"""Constant fan-in: every active neuron has the same number of inputs; stored as a rectangle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ConfigError, DensityError, TopologyError
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import (
    Index,
    Pattern,
    Shape,
    add_narrow_,
    check_range,
    narrow,
    patterns,
    remainders,
    whole,
)


@patterns.register("fanin")
@dataclass(frozen=True)
class FanIn(Pattern):
    """Every active neuron has k inputs; ``group`` neighbouring neurons share the same k.

    Args:
        group: int - 1, 2, 4 or 8 neighbouring neurons that read the same inputs; 4 and 8 are the fast ones for batches.
    Source: SRigL (Lasby et al., ICLR 2024), constant fan-in.
    Example:
        >>> p = FanIn(); p.budget(0.01, (300, 784)), p.quotas(2352, p.grid((300, 784)))[0].item()
        (2352, 7)
    """

    group: int = 1
    layout = "fanin"

    def __post_init__(self) -> None:
        if self.group not in (1, 2, 4, 8):
            raise ConfigError("FanIn", expected="group 1, 2, 4 or 8", got=str(self.group))

    def __str__(self) -> str:
        return self.name if self.group == 1 else f"{self.name}:{self.group}"

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

    def encode(self, positions: Tensor, grid: Grid) -> Index:
        """``rows`` [active] and ``col`` [active, k]."""
        per_row = self.count(positions, grid)
        if problem := self.check_counts(per_row, grid):
            raise TopologyError(f"{self}.encode", expected="one fan-in for all active neurons", got=problem)
        rows = per_row.nonzero().squeeze(1)
        col = remainders(positions, grid.cols, narrow(grid.cols))
        col = col.view(rows.numel(), -1) if rows.numel() else col.view(0, 0)
        return {"rows": rows.to(narrow(grid.rows)), "col": col}

    def decode(self, index: Index, grid: Grid) -> Tensor:
        """Positions from ``rows`` and ``col``."""
        rows, col = index["rows"].to(torch.int64), index["col"]
        if rows.dim() != 1 or col.dim() != 2 or col.shape[0] != rows.numel():
            raise TopologyError(
                f"{self}.decode",
                expected="rows [active] and col [active, k]",
                got=f"{tuple(rows.shape)} and {tuple(col.shape)}",
                hint="the file or the index tensors are damaged",
            )
        check_range(f"{self}.decode", "row", rows, grid.rows)
        check_range(f"{self}.decode", "column", col, grid.cols)
        return add_narrow_((rows * grid.cols).unsqueeze(1).repeat(1, col.shape[1]), col).view(-1)

    def dims(self, shape: Shape) -> list[int]:
        """[n_out, n_in, group]."""
        return [*shape, self.group]

    def check_counts(self, counts: Tensor, grid: Grid) -> str:
        """Active neurons must agree on their fan-in."""
        active = counts[counts > 0]
        if active.numel() == 0 or int(active.min()) == int(active.max()):
            return ""
        return f"fan-ins from {int(active.min())} to {int(active.max())}"
