"""A U-Net of the published channels, with borders, batch norms, and nearest upsampling before its up-convolutions.

Source: Ronneberger et al., MICCAI 2015, Figure 1. There without borders and batch norms, and with up-convolutions of
2x2, which are 3x3 here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.models.base import scaled
from networks.blocks import conv_norm

CHANNELS = (64, 128, 256, 512, 1024)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    first = conv_norm(inputs, outputs, act=nn.ReLU(inplace=True))
    return nn.Sequential(*first, *conv_norm(outputs, outputs, act=nn.ReLU(inplace=True)))


class UNet(nn.Module):
    """The network for images [batch, 3, height, width] of multiples of 16: a score for each pixel and class."""

    def __init__(self, width: float = 1.0, classes: int = 2) -> None:
        super().__init__()
        sizes = [scaled(channels, width) for channels in CHANNELS]
        down = zip((3, *sizes), sizes, strict=False)
        self.down = nn.ModuleList([double(inputs, outputs) for inputs, outputs in down])
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.larger = nn.Upsample(scale_factor=2)
        self.halves = nn.ModuleList([nn.Conv2d(deep, skip, 3, padding=1) for deep, skip in pairs])
        self.up = nn.ModuleList([double(2 * skip, skip) for _, skip in pairs])
        self.scores = nn.Conv2d(sizes[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for number, step in enumerate(self.down):
            x = step(self.pool(x) if number else x)
            skips.append(x)
        for half, step, skip in zip(self.halves, self.up, skips[-2::-1], strict=True):
            x = step(torch.cat([skip, half(self.larger(x))], 1))
        scores: Tensor = self.scores(x)
        return scores
