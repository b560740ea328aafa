"""Leaky ReLU with dropout in torch: the definition, and the way for dtypes the compiled core does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTION = 65536
DROPPED, POSITIVE, OTHER = 0, 1, 2


def threshold(p: float) -> int:
    """How many of the values of 16 random bits drop a number.

    Example:
        >>> threshold(0.3), threshold(0.0), threshold(1.0)
        (19661, 0, 65536)
    """
    return round(p * RESOLUTION)


def forward(x: Tensor, seed: int, slope: float, p: float) -> tuple[Tensor, Tensor]:
    """(y, kept): as the compiled core's, but of other random bits."""
    import torch

    generator = torch.Generator(x.device).manual_seed(seed)
    bits = torch.randint(RESOLUTION, x.shape, generator=generator, dtype=torch.int32, device=x.device)
    sides = torch.where(x > 0, POSITIVE, OTHER).to(torch.uint8)
    kept = torch.empty_like(x, dtype=torch.uint8).copy_(torch.where(bits >= threshold(p), sides, DROPPED))
    return backward(x, kept, slope, p), kept


def backward(grad: Tensor, kept: Tensor, slope: float, p: float) -> Tensor:
    """A gradient, or the numbers themselves, times what forward multiplied them by; in memory as `kept`."""
    import torch

    scale = RESOLUTION / (RESOLUTION - threshold(p)) if threshold(p) < RESOLUTION else 0.0
    factors = torch.tensor([0.0, scale, scale * slope], dtype=grad.dtype, device=grad.device)
    return torch.empty_like(kept, dtype=grad.dtype).copy_(grad * factors[kept.int()])
