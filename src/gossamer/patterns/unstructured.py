"""Unstructured sparsity: any connection may exist; stored row-compressed (CSR)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import DensityError
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import (
    Pattern,
    Shape,
    patterns,
    whole,
)


@patterns.register("unstructured")
@dataclass(frozen=True)
class Unstructured(Pattern):
    """Any set of connections; only their number in the layer is fixed.

    Example:
        >>> p = Unstructured(); p.budget(0.1, (300, 784))
        23520
    """

    layout = "csr"

    def bucket(self, grid: Grid) -> int:
        """The whole layer is one bucket."""
        return grid.size

    def budget(self, density: float, shape: Shape) -> int:
        """``size - floor((1 - density) * size)`` connections: zeros are rounded down, as RigL's code does."""
        size = self.grid(shape).size
        if not 0 < density <= 1:
            raise DensityError(
                f"{self} on {shape}", expected=f"a density from {1 / size:.3g} to 1", got=str(density)
            )
        return size - whole((1 - density) * size)

    def quotas(self, units: int, grid: Grid) -> Tensor:
        """All units in the one bucket."""
        return torch.tensor([units])
