"""Images taken apart into phases, pixels that lie a stride apart, by torch."""

from __future__ import annotations

from functools import reduce
from math import comb, inf
from typing import TYPE_CHECKING, Final

import torch

from gossamer.layouts.phases import first_pixel

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Pair

NORMS: Final = {"l1": 1.0, "l2": 2.0, "linf": inf}


def strongest(x: Tensor, stride: Pair, norm: str) -> Tensor:
    """int64 [...]: of each image [..., channels, height, width] the phase with the largest norm.

    Sums are float64 whatever the type of x. Of equal phases it is the first; NaN is larger than all others.
    """
    norms = torch.linalg.vector_norm(
        split(x.detach(), stride), NORMS[norm], (-3, -2, -1), dtype=torch.float64
    )
    found: Tensor = norms.flatten(-2).argmax(-1)
    return found


def taken(x: Tensor, phase: Tensor, stride: Pair) -> Tensor:
    """[..., channels, height', width']: one phase of each image; int64 [...] says which."""
    row, column = first_pixel(phase, stride)
    parts = split(x, stride)
    return parts[row, column] if x.ndim == 3 else parts[torch.arange(len(x), device=x.device), row, column]


def split(x: Tensor, stride: Pair) -> Tensor:
    """[..., down, along, channels, height', width'], in the memory of x: phases as ``layouts.phases`` numbers them."""
    parts = x.unflatten(-1, (-1, stride[1])).unflatten(-3, (-1, stride[0]))
    found: Tensor = parts.movedim((-3, -1), (-5, -4))
    return found


def weights(size: int) -> list[tuple[int, float]]:
    """(pixels to shift by, weight) of each tap of a binomial blur; the weights are exact in every type.

    Example:
        >>> weights(3)
        [(1, 0.25), (0, 0.5), (-1, 0.25)]
    """
    left = (size - 1) // 2
    return [(left - k, comb(size - 1, k) / 2 ** (size - 1)) for k in range(size)]


def blurred(x: Tensor, size: int) -> Tensor:
    """[..., height, width], every pixel computed alike: a shifted image gives the shifted result to the bit."""
    for dim in (-1, -2) if size > 1 else ():
        x = reduce(torch.add, [torch.roll(x, shift, dim) * weight for shift, weight in weights(size)])
    return x
