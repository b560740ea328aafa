"""Images taken apart into phases, pixels that lie a stride apart: which is strongest, and that one of each image."""

from __future__ import annotations

from functools import reduce
from math import comb, inf
from typing import TYPE_CHECKING, Final

import torch
from torch.overrides import handle_torch_function, has_torch_function

from gossamer.errors import ShapeError
from gossamer.layouts.phases import first_pixel

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Pair

NORMS: Final = {"l1": 1.0, "l2": 2.0, "linf": inf}
LARGEST_BLUR: Final = 7


def strongest_phase(x: Tensor, stride: Pair = (2, 2), norm: str = "l2") -> Tensor:
    """The phase of each image that has the largest norm, over all its channels and pixels.

    Args:
        x: [batch, channels, height, width] or without the batch, floating - height and width are multiples of the
            stride.
        stride: (down, along).
        norm: "l1", "l2" or "linf" - added up in float64, whatever the type of x.

    Returns:
        int64 [batch], or a single number - phases are counted row by row. Of equal ones the first; one with NaN before
        all others, so that NaN is not hidden.

    Raises:
        ShapeError: no image, or one whose sides are no multiples of the stride.

    Cost: one pass over x; no gradient.

    Source: Chaman and Dokmanic, CVPR 2021, section 4.

    Example:
        >>> strongest_phase(torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])).tolist()
        [3]
    """
    if has_torch_function((x,)):
        found: Tensor = handle_torch_function(strongest_phase, (x,), x, stride, norm)
        return found
    parts = _split("strongest_phase", x.detach(), stride)
    norms = torch.linalg.vector_norm(parts, NORMS[norm], dim=(-3, -2, -1), dtype=torch.float64)
    strongest: Tensor = norms.flatten(-2).argmax(-1)
    return strongest


def take_phase(x: Tensor, phase: Tensor, stride: Pair = (2, 2)) -> Tensor:
    """One phase of each image; gradients reach its pixels alone.

    Args:
        x: [batch, channels, height, width] or without the batch - height and width are multiples of the stride.
        phase: int64 [batch], or a single number - as ``strongest_phase`` gives them.
        stride: (down, along).

    Returns:
        [batch, channels, height / down, width / along], or without the batch.

    Raises:
        ShapeError: no image, or one whose sides are no multiples of the stride; another number of phases.

    Cost: reads and writes the output once.

    Example:
        >>> x = torch.arange(16.0).view(1, 1, 4, 4)
        >>> take_phase(x, torch.tensor([3])).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    if has_torch_function((x, phase)):
        taken: Tensor = handle_torch_function(take_phase, (x, phase), x, phase, stride)
        return taken
    parts = _split("take_phase", x, stride)
    if phase.shape != x.shape[:-3]:
        expected = f"a phase for each image, {list(x.shape[:-3])}"
        raise ShapeError("take_phase", expected=expected, got=f"{list(phase.shape)}")
    row, column = first_pixel(phase, stride)
    if x.ndim == 3:
        return parts[row, column]
    return parts[torch.arange(x.shape[0], device=x.device), row, column]


def circular_blur(x: Tensor, size: int) -> Tensor:
    """Blurred along rows and columns by binomial weights; what leaves on one side comes in on the other.

    Every pixel is computed alike, so a shifted image gives the shifted result to the bit.

    Args:
        x: [..., height, width], floating.
        size: int in 1 to 7 - numbers of weights along each side: 1 none, 2 (1 1), 3 (1 2 1), ...

    Returns:
        like x.

    Cost: 2 * size passes over x.

    Source: Zhang, ICML 2019, section 3 (the filters).

    Example:
        >>> circular_blur(torch.tensor([[4.0, 0.0, 0.0, 0.0]]), 3).tolist()
        [[2.0, 1.0, 0.0, 1.0]]
    """
    if has_torch_function((x,)):
        blurred: Tensor = handle_torch_function(circular_blur, (x,), x, size)
        return blurred
    if size == 1:
        return x
    left = (size - 1) // 2
    for dim in (-1, -2):
        parts = (torch.roll(x, left - k, dim) * (comb(size - 1, k) / 2 ** (size - 1)) for k in range(size))
        x = reduce(torch.add, parts)
    return x


def _split(operation: str, x: Tensor, stride: Pair) -> Tensor:
    """[..., down, along, channels, height', width'], in the memory of x: a row and a column of phases."""
    down, along = stride
    if x.ndim not in (3, 4) or not x.is_floating_point():
        expected, got = "[batch, channels, height, width], floating", f"{x.dtype} {list(x.shape)}"
        raise ShapeError(operation, expected=expected, got=got)
    channels, height, width = x.shape[-3:]
    if min(channels, height, width) < 1 or height % down or width % along:
        raise ShapeError(
            operation,
            expected=f"a channel, and a height and width that are multiples of {down} and {along}",
            got=f"{channels} channels of {height} x {width} pixels",
            hint="resize or crop the images: a border would not move with them",
        )
    parts = x.unflatten(-1, (-1, along)).unflatten(-3, (-1, down))
    split: Tensor = parts.movedim((-3, -1), (-5, -4))
    return split
