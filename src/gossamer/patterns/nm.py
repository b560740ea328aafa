"""N:M sparsity: of every M consecutive inputs a neuron keeps exactly N; stored as byte offsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import ConfigError, DensityError, PatternError
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import Pattern, Shape, patterns


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

    @property
    def parameters(self) -> dict[str, int]:
        """N and M."""
        return {"n": self.n, "m": self.m}

    @property
    def neighbours(self) -> int:
        """A tile."""
        return self.m

    def grid(self, shape: Shape) -> Grid:
        """The unit grid; the inputs must be a multiple of m."""
        if shape[1] % self.m:
            raise PatternError(
                f"{self} on a layer",
                expected=f"inputs divisible by {self.m}",
                got=f"{shape[1]} inputs",
                hint="choose another m, or leave the layer dense with skip=, or dense_first= where it is the first",
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

    def check_counts(self, counts: Tensor, grid: Grid) -> str:
        """Every tile must hold exactly n."""
        if bool((counts == self.n).all()):
            return ""
        return f"tiles with {int(counts.min())} to {int(counts.max())} connections"
