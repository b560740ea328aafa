"""SqueezeNet 1.0 and 1.1.

Source: Iandola et al., arXiv:1602.07360, Table 1; 1.1 from the authors' repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.models.base import scaled

# channels squeezed to, channels of each branch
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class Fire(nn.Module):
    """A 1x1 convolution, read by a 1x1 and a 3x3, whose results stand side by side."""

    def __init__(self, inputs: int, squeezed: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.squeeze_act = nn.ReLU(inplace=True)
        self.one = nn.Conv2d(squeezed, each, 1)
        self.one_act = nn.ReLU(inplace=True)
        self.three = nn.Conv2d(squeezed, each, 3, padding=1)
        self.three_act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_act(self.squeeze(x))
        return torch.cat([self.one_act(self.one(x)), self.three_act(self.three(x))], 1)


class SqueezeNet(nn.Module):
    """The network for images [batch, 3, height, width]."""

    def __init__(self, width: float = 1.0, classes: int = 1000, version: str = "1.1") -> None:
        super().__init__()
        channels, kernel = (96, 7) if version == "1.0" else (64, 3)
        channels = scaled(channels, width)
        self.stem = nn.Conv2d(3, channels, kernel, 2)
        steps: list[nn.Module] = [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)]
        before = (3, 7) if version == "1.0" else (2, 4)
        for number, (squeezed, each) in enumerate(FIRES):
            if number in before:
                steps.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            steps.append(Fire(channels, scaled(squeezed, width), scaled(each, width)))
            channels = 2 * scaled(each, width)
        self.body = nn.Sequential(*steps)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(channels, classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.body(self.stem(x))).flatten(1)
        return scores


def load_caffe(net: SqueezeNet, arrays: Mapping[str, Any]) -> None:
    """Take over the arrays of a SqueezeNet 1.0 that are named as its Caffe layers are."""
    fires = [step for step in net.body if isinstance(step, Fire)]
    layers: dict[str, Any] = {"conv1": net.stem, "conv_final": net.classifier[1]}
    for number, fire in enumerate(fires, 2):
        layers |= {
            f"fire{number}/conv1x1_1": fire.squeeze,
            f"fire{number}/conv1x1_2": fire.one,
            f"fire{number}/conv3x3_2": fire.three,
        }
    if {f"{name}/{part}" for name in layers for part in "wb"} != set(arrays):
        raise ValueError("the arrays are not those of a SqueezeNet 1.0")
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight.copy_(torch.from_numpy(arrays[f"{name}/w"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}/b"]))
