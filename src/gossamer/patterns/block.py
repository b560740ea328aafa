"""Block sparsity: whole blocks of connections exist or do not; stored block-row-compressed."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.errors import ConfigError, DensityError
from gossamer.layouts.block import TALLEST, WIDEST
from gossamer.patterns.base import Shape, patterns, whole
from gossamer.patterns.unstructured import Unstructured


@patterns.register("block")
@dataclass(frozen=True)
class Block(Unstructured):
    """Any set of blocks of ``h`` neurons by ``w`` inputs; only their number in the layer is fixed.

    What `Unstructured` does with connections is done with blocks: the budget is their number, and a block lives, dies
    and is scored as a whole.

    Args:
        h: int - neurons of a block, 1 to 32; multiples of 4 are the fast ones for batches.
        w: int - inputs of a block, 1 to 64; 0, the default: as many as ``h``.
    Source: Gray, Radford and Kingma, "GPU Kernels for Block-Sparse Weights" (2017).
    Example:
        >>> str(Block(4)), str(Block(1, 16)), Block(8).budget(0.1, (64, 64))
        ('block:4', 'block:1:16', 6)
    """

    h: int = 4
    w: int = 0
    layout = "block"

    def __post_init__(self) -> None:
        if self.w == 0:
            object.__setattr__(self, "w", self.h)
        if not (1 <= self.h <= TALLEST and 1 <= self.w <= WIDEST):
            raise ConfigError(
                "Block",
                expected=f"h from 1 to {TALLEST} and w from 1 to {WIDEST}",
                got=f"{self.h} x {self.w}",
            )

    def __str__(self) -> str:
        return f"{self.name}:{self.h}" if self.h == self.w else f"{self.name}:{self.h}:{self.w}"

    @property
    def parameters(self) -> dict[str, int]:
        """The sides of a block."""
        return {"h": self.h, "w": self.w}

    @property
    def unit(self) -> tuple[int, int]:  # type: ignore[override]
        """A block."""
        return (self.h, self.w)

    def budget(self, density: float, shape: Shape) -> int:
        """``floor(density * blocks)``; there must be one at least."""
        blocks = self.grid(shape).size
        units = whole(density * blocks) if 0 < density <= 1 else 0
        if units < 1:
            raise DensityError(
                f"{self} on {shape}",
                expected=f"a density from {1 / blocks:.3g} (one block) to 1",
                got=str(density),
                hint="raise the density, choose smaller blocks, or leave the layer out with skip=",
            )
        return units
