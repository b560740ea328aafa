"""Sampling by phases as the rest of the package calls it: checked, and one call in a graph that torch.fx traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch.overrides import handle_torch_function, has_torch_function

from gossamer.errors import ShapeError
from gossamer.kernels.reference import polyphase

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.geometry import Pair

NORMS: Final = tuple(polyphase.NORMS)
LARGEST_BLUR: Final = 7


def strongest_phase(x: Tensor, stride: Pair = (2, 2), norm: str = "l2") -> Tensor:
    """The phase of each image that has the largest norm, over all its channels and pixels.

    Args:
        x: [batch, channels, height, width] or without the batch, floating - sides are multiples of the stride.
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
        >>> import torch
        >>> strongest_phase(torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])).tolist()
        [3]
    """
    if has_torch_function((x,)):
        found: Tensor = handle_torch_function(strongest_phase, (x,), x, stride, norm)
        return found
    _check("strongest_phase", x, stride)
    return polyphase.strongest(x, stride, norm)


def take_phase(x: Tensor, phase: Tensor, stride: Pair = (2, 2)) -> Tensor:
    """One phase of each image; gradients reach its pixels alone.

    Args:
        x: [batch, channels, height, width] or without the batch, floating - sides are multiples of the stride.
        phase: int64 [batch], or a single number - as ``strongest_phase`` gives them.
        stride: (down, along).

    Returns:
        [batch, channels, height / down, width / along], or without the batch.

    Raises:
        ShapeError: no image, or one whose sides are no multiples of the stride; another number of phases.

    Cost: reads and writes the output once.

    Example:
        >>> import torch
        >>> take_phase(torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([3])).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    if has_torch_function((x, phase)):
        taken: Tensor = handle_torch_function(take_phase, (x, phase), x, phase, stride)
        return taken
    _check("take_phase", x, stride)
    if phase.shape != x.shape[:-3]:
        expected = f"a phase for each image, {list(x.shape[:-3])}"
        raise ShapeError("take_phase", expected=expected, got=f"{list(phase.shape)}")
    return polyphase.taken(x, phase, stride)


def take_strongest(x: Tensor, judged: Tensor, stride: Pair = (2, 2), norm: str = "l2") -> Tensor:
    """The phase of each image that is the strongest one of another image, or of itself.

    Args:
        x: [batch, channels, height, width] or without the batch, floating - sides are multiples of the stride.
        judged: [batch, any channels, height, width] - may be x.
        stride: (down, along).
        norm: "l1", "l2" or "linf".

    Returns:
        [batch, channels, height / down, width / along], or without the batch.

    Raises:
        ShapeError: as ``strongest_phase`` and ``take_phase``; images of two sizes.

    Cost: that of the two.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
        >>> take_strongest(x, x).tolist(), take_strongest(x, x.roll(1, 3)).tolist()
        ([[[[-4.0]]]], [[[[3.0]]]])
    """
    if has_torch_function((x, judged)):
        taken: Tensor = handle_torch_function(take_strongest, (x, judged), x, judged, stride, norm)
        return taken
    if x.shape[-2:] != judged.shape[-2:]:
        expected = f"images of {list(x.shape[-2:])}"
        raise ShapeError("take_strongest", expected=expected, got=f"{list(judged.shape[-2:])}")
    return take_phase(x, strongest_phase(judged, stride, norm), stride)


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
        >>> import torch
        >>> circular_blur(torch.tensor([[4.0, 0.0, 0.0, 0.0]]), 3).tolist()
        [[2.0, 1.0, 0.0, 1.0]]
    """
    if has_torch_function((x,)):
        blurred: Tensor = handle_torch_function(circular_blur, (x,), x, size)
        return blurred
    return polyphase.blurred(x, size)


def _check(operation: str, x: Tensor, stride: Pair) -> None:
    """Refuse what has no phases of one size."""
    if x.ndim not in (3, 4) or not x.is_floating_point():
        expected, got = "[batch, channels, height, width], floating", f"{x.dtype} {list(x.shape)}"
        raise ShapeError(operation, expected=expected, got=got)
    channels, height, width = x.shape[-3:]
    if min(channels, height, width) < 1 or height % stride[0] or width % stride[1]:
        raise ShapeError(
            operation,
            expected=f"a channel, and a height and width that are multiples of {stride[0]} and {stride[1]}",
            got=f"{channels} channels of {height} x {width} pixels",
            hint="resize or crop the images: a border would not move with them",
        )
