"""Wide residual networks for CIFAR-10."""

from __future__ import annotations

from torch import Tensor, nn

from gossamer.errors import ConfigError
from gossamer.models.base import register, scaled
from gossamer.models.resnet import he_fan_out
from gossamer.nn.activations import Dropout


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, beside a shortcut.

    Args:
        inputs, planes: int - channels that come in and go out; where they differ a 1x1 convolution adapts the shortcut.
        stride: int - of the first convolution.
        dropout: float in [0, 1) - between the convolutions.
    """

    def __init__(self, inputs: int, planes: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.drop = Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.convShortcut = nn.Conv2d(inputs, planes, 1, stride, bias=False) if inputs != planes else None

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, planes, height / stride, width / stride]."""
        first = self.relu(self.bn1(x))
        y = self.drop(self.relu(self.bn2(self.conv1(first))))
        total: Tensor = self.conv2(y) + (x if self.convShortcut is None else self.convShortcut(first))
        return total


class WideStage(nn.Module):
    """Blocks in a row; the first has the stride.

    Args:
        inputs, planes: int - channels that come in and go out.
        stride: int - of the first block.
        count: int - blocks.
        dropout: float in [0, 1).
    """

    def __init__(self, inputs: int, planes: int, stride: int, count: int, dropout: float) -> None:
        super().__init__()
        blocks = [WideBlock(inputs, planes, stride, dropout)]
        self.layer = nn.Sequential(
            *blocks, *(WideBlock(planes, planes, 1, dropout) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, planes, height / stride, width / stride]."""
        y: Tensor = self.layer(x)
        return y


class WideResNet(nn.Module):
    """A wide residual network of three stages.

    Args:
        depth: int - 6 n + 4 layers.
        factor: int - how much wider than 16, 32 and 64 channels.
        channels: int - of the images.
        classes: int - outputs.
        width: float - a further factor of all channels, the first layer's included.
        dropout: float in [0, 1).

    Source: Zagoruyko and Komodakis, BMVC 2016; parameters are named as in Andreas Veit's WideResNet-pytorch.

    Example:
        >>> import torch
        >>> WideResNet(10, 1, channels=3, classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int,
        factor: int,
        *,
        channels: int,
        classes: int,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not (isinstance(dropout, (int, float)) and 0 <= dropout < 1):
            raise ConfigError("dropout of a model", expected="a number in [0, 1)", got=repr(dropout))
        planes = [scaled(wide, width) for wide in (16, 16 * factor, 32 * factor, 64 * factor)]
        self.conv1 = nn.Conv2d(channels, planes[0], 3, padding=1, bias=False)
        count = (depth - 4) // 6
        self.block1 = WideStage(planes[0], planes[1], 1, count, dropout)
        self.block2 = WideStage(planes[1], planes[2], 2, count, dropout)
        self.block3 = WideStage(planes[2], planes[3], 2, count, dropout)
        self.bn1 = nn.BatchNorm2d(planes[3])
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(planes[3], classes)
        he_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, classes]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        scores: Tensor = self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))
        return scores


@register("wrn-22-2")
def wrn_22_2(*, channels: int = 3, classes: int = 10, width: float = 1.0, dropout: float = 0.3) -> WideResNet:
    """WRN-22-2 for CIFAR-10, the network of the papers on sparse training: 1.1 million parameters.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.
        dropout: float in [0, 1) - between the convolutions of a block; the papers use 0.3.

    Returns:
        WideResNet.

    Raises:
        ConfigError: a width or dropout out of range.

    Example:
        >>> sum(parameter.numel() for parameter in wrn_22_2().parameters())
        1079642
    """
    return WideResNet(22, 2, channels=channels, classes=classes, width=width, dropout=dropout)
