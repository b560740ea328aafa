"""MobileNetV2, whose parameters are named as in torchvision.

Source: Sandler et al., CVPR 2018, Table 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.blocks import conv_norm, eights

# expansion, channels, blocks, stride of the first block
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Wide inside, narrow outside: 1x1, depth-wise 3x3 and 1x1 convolutions."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        steps: list[nn.Module] = []
        if expansion != 1:
            steps.append(conv_norm(inputs, inner, 1, act=nn.ReLU6(inplace=True)))
        steps.append(conv_norm(inner, inner, 3, stride, groups=inner, act=nn.ReLU6(inplace=True)))
        self.conv = nn.Sequential(*steps, nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """The network for images [batch, 3, height, width]."""

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        channels = eights(32 * width)
        steps: list[nn.Module] = [conv_norm(3, channels, 3, 2, act=nn.ReLU6(inplace=True))]
        for expansion, planes, blocks, stride in STAGES:
            outputs = eights(planes * width)
            for number in range(blocks):
                steps.append(InvertedResidual(channels, outputs, expansion, stride if number == 0 else 1))
                channels = outputs
        last = eights(1280 * width)
        steps.append(conv_norm(channels, last, 1, act=nn.ReLU6(inplace=True)))
        self.features = nn.Sequential(*steps)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        scores: Tensor = self.classifier(torch.flatten(y, 1))
        return scores
