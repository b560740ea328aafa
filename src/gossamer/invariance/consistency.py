"""How often a network says the same of an image that moved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gossamer.errors import ShapeError


@torch.no_grad()
def shift_consistency(
    model: nn.Module, x: Tensor, shifts: Iterable[tuple[int, int]] | None = None, batch: int = 256
) -> float:
    """The share of images and circular shifts for which the largest score stays where it is for the unmoved image.

    Args:
        model: nn.Module - gives scores [batch, classes]; called in evaluation, its modes are as they were afterwards.
        x: [images, channels, height, width].
        shifts: (down, along) in pixels; None: all height * width of them.
        batch: int >= 1 - images of a call.

    Returns:
        float in [0, 1].

    Raises:
        ShapeError: no images, no shift, or a batch below 1.

    Cost: a forward pass of all images for every shift.

    Source: Zhang, ICML 2019, section 4 (consistency of classification).

    Example:
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> shift_consistency(model, torch.rand(4, 3, 8, 8))
        1.0
    """
    found = [*(shifts if shifts is not None else _all(x))]
    if x.ndim != 4 or not len(x) or not found or batch < 1:
        expected = "images [batch, channels, height, width], a shift, and a batch of at least 1"
        got = f"{list(x.shape)}, {len(found)} shifts, batch {batch}"
        raise ShapeError("shift_consistency", expected=expected, got=got)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        same = 0
        for part in x.split(batch):
            answer = model(part).argmax(1)
            same += sum(int((model(part.roll(shift, (2, 3))).argmax(1) == answer).sum()) for shift in found)
    finally:
        for module, training in modes:
            module.training = training
    return same / (len(x) * len(found))


def _all(x: Tensor) -> Iterable[tuple[int, int]]:
    height, width = x.shape[-2:]
    return ((down, along) for down in range(height) for along in range(width))
