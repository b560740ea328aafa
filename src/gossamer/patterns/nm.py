"""N:M sparsity: of every M consecutive inputs a neuron keeps exactly N; stored as byte offsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ConfigError, DensityError, PatternError, TopologyError
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import Index, Pattern, Shape, add_narrow_, patterns, remainders


@patterns.register("nm")
@dataclass(frozen=True)
class NM(Pattern):
    """Of every ``m`` consecutive inputs each neuron keeps exactly ``n``; the density is n / m and nothing else.

    Args:
        n: int - connections kept in a tile.
        m: int - inputs in a tile, at most 256, so that an offset is one byte.
    Source: Zhou et al. 2021; groups run along the input dimension (channels for a convolution).
    Example:
        >>> p = NM(1, 8); str(p), p.budget(0.125, (4, 16))
        ('nm:1:8', 8)
    """

    n: int
    m: int
    layout = "nm"

    def __post_init__(self) -> None:
        if not (1 <= self.n <= self.m and 2 <= self.m <= 256):
            raise ConfigError("NM", expected="1 <= n <= m and 2 <= m <= 256", got=f"{self.n}:{self.m}")

    def __str__(self) -> str:
        return f"{self.name}:{self.n}:{self.m}"

    def grid(self, shape: Shape) -> Grid:
        """The unit grid; the inputs must be a multiple of m."""
        if shape[1] % self.m:
            raise PatternError(
                f"{self} on a layer",
                expected=f"inputs divisible by {self.m}",
                got=f"{shape[1]} inputs",
                hint="choose another m, or leave the layer out with skip=",
            )
        return super().grid(shape)

    def bucket(self, grid: Grid) -> int:
        """A tile of m inputs of one neuron."""
        return self.m

    def budget(self, density: float, shape: Shape) -> int:
        """``size * n / m``; any other density is refused."""
        if not abs(density - self.n / self.m) <= 1e-9:  # NaN too
            raise DensityError(
                f"{self} on {shape}",
                expected=f"the density {self.n / self.m:g}",
                got=str(density),
                hint="N:M fixes the density of a layer: leave density out, or choose another N:M",
            )
        return self.grid(shape).size // self.m * self.n

    def quotas(self, units: int, grid: Grid) -> Tensor:
        """N in every tile."""
        return torch.full((grid.size // self.m,), self.n, dtype=torch.int64)

    def encode(self, positions: Tensor, grid: Grid) -> Index:
        """``offset`` [rows, tiles, n], uint8."""
        if positions.numel() != grid.size // self.m * self.n:
            raise TopologyError(
                f"{self}.encode",
                expected=f"{grid.size // self.m * self.n} connections",
                got=str(positions.numel()),
            )
        return {
            "offset": remainders(positions, self.m, torch.uint8).view(grid.rows, grid.cols // self.m, self.n)
        }

    def decode(self, index: Index, grid: Grid) -> Tensor:
        """Positions from ``offset``."""
        offset, tiles = index["offset"], grid.cols // self.m
        if tuple(offset.shape) != (grid.rows, tiles, self.n) or bool((offset >= self.m).any()):
            raise TopologyError(
                f"{self}.decode",
                expected=f"offsets below {self.m} of shape {(grid.rows, tiles, self.n)}",
                got=f"shape {tuple(offset.shape)}, largest {int(offset.max()) if offset.numel() else 0}",
                hint="the file or the index tensors are damaged",
            )
        tile = torch.arange(0, grid.size, self.m).view(grid.rows, tiles, 1)
        return add_narrow_(tile.repeat(1, 1, self.n), offset).view(-1)

    def dims(self, shape: Shape) -> list[int]:
        """[n_out, n_in, n, m]."""
        return [*shape, self.n, self.m]

    def check_counts(self, counts: Tensor, grid: Grid) -> str:
        """Every tile must hold exactly n."""
        if bool((counts == self.n).all()):
            return ""
        return f"tiles with {int(counts.min())} to {int(counts.max())} connections"
