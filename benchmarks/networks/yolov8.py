"""A detector shaped like YOLOv8n: the same layers and sizes, raw boxes and class probabilities as one tensor.

Source: the published architecture of YOLOv8 (Ultralytics, 2023). Boxes are not decoded: each side of one is a
histogram of 16 bins, whose mean the published network takes by a convolution of 16 fixed numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.models.base import scaled
from networks.blocks import conv_norm

BINS = 16


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution, a batch norm and SiLU."""
    return conv_norm(inputs, outputs, kernel, stride, act=nn.SiLU(inplace=True), eps=1e-3)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, and the input added where asked for."""

    def __init__(self, channels: int, adds: bool) -> None:
        super().__init__()
        self.first, self.second, self.adds = conv(channels, channels, 3), conv(channels, channels, 3), adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y if self.adds else y


class C2f(nn.Module):
    """Half of the channels goes through bottlenecks; everything on the way is kept, side by side."""

    def __init__(self, inputs: int, outputs: int, depth: int, adds: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = conv(inputs, 2 * half), conv((2 + depth) * half, outputs)
        self.steps = nn.ModuleList([Bottleneck(half, adds) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        kept = list(self.first(x).chunk(2, 1))
        for step in self.steps:
            kept.append(step(kept[-1]))
        y: Tensor = self.last(torch.cat(kept, 1))
        return y


class SPPF(nn.Module):
    """Maxima over windows of 5, 9 and 13 pixels beside the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = conv(channels, channels // 2), conv(channels // 2 * 4, channels)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.first(x)]
        for _ in range(3):
            kept.append(self.pool(kept[-1]))
        y: Tensor = self.last(torch.cat(kept, 1))
        return y


class Detect(nn.Module):
    """For every pixel of three images four histograms, of the sides of a box, and a probability for each class."""

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        sides, kinds = max(16, channels[0] // 4, 4 * BINS), max(channels[0], min(classes, 100))
        self.boxes = nn.ModuleList([self._branch(each, sides, 4 * BINS) for each in channels])
        self.classes = nn.ModuleList([self._branch(each, kinds, classes) for each in channels])

    @staticmethod
    def _branch(inputs: int, inner: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(conv(inputs, inner, 3), conv(inner, inner, 3), nn.Conv2d(inner, outputs, 1))

    def forward(self, images: list[Tensor]) -> Tensor:
        found = []
        for image, boxes, classes in zip(images, self.boxes, self.classes, strict=True):
            found.append(torch.cat([boxes(image), classes(image).sigmoid()], 1).flatten(2))
        return torch.cat(found, 2)


class YOLOv8n(nn.Module):
    """The network for images [batch, 3, height, width] of multiples of 32."""

    def __init__(self, width: float = 1.0, classes: int = 80) -> None:
        super().__init__()
        a, b, c, d, e = (2 * scaled(channels // 2, width) for channels in (16, 32, 64, 128, 256))
        self.stem = nn.Sequential(conv(3, a, 3, 2), conv(a, b, 3, 2), C2f(b, b, 1, True), conv(b, c, 3, 2))
        self.fine = C2f(c, c, 2, True)
        self.middle = nn.Sequential(conv(c, d, 3, 2), C2f(d, d, 2, True))
        self.coarse = nn.Sequential(conv(d, e, 3, 2), C2f(e, e, 1, True), SPPF(e))
        self.larger = nn.Upsample(scale_factor=2)
        self.up = nn.ModuleList([C2f(e + d, d, 1), C2f(d + c, c, 1)])
        self.down = nn.ModuleList([conv(c, c, 3, 2), conv(d, d, 3, 2)])
        self.joined = nn.ModuleList([C2f(c + d, d, 1), C2f(d + e, e, 1)])
        self.detect = Detect((c, d, e), classes)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(self.stem(x))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.up[0](torch.cat([self.larger(coarse), middle], 1))
        fine = self.up[1](torch.cat([self.larger(middle), fine], 1))
        middle = self.joined[0](torch.cat([self.down[0](fine), middle], 1))
        coarse = self.joined[1](torch.cat([self.down[1](middle), coarse], 1))
        found: Tensor = self.detect([fine, middle, coarse])
        return found
