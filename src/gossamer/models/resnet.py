"""Residual networks for ImageNet, version 1.5, and their form for images of 32 x 32.

Parameters are named as torchvision names them.
"""

from __future__ import annotations

from torch import Tensor, nn

from gossamer.models.base import register, scaled


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        inputs, planes: int - channels that come in and go out.
        stride: int - of the first convolution.
        shortcut: nn.Module or None - what the input goes through to be added; None: nothing.
    """

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, planes, height / stride, width / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        total: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return total


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the 3x3 has the stride, which is what makes it version 1.5.

    Args:
        inputs: int - channels that come in.
        planes: int - channels in the middle; four times as many go out.
        stride: int - of the 3x3 convolution.
        shortcut: nn.Module or None - what the input goes through to be added; None: nothing.
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, 4 * planes, height / stride, width / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        total: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return total


class ResNet(nn.Module):
    """A residual network of four stages.

    Args:
        block: Basic or Bottleneck.
        depths: four numbers of blocks.
        channels: int - of the images.
        classes: int - outputs.
        width: float - factor of all channels.
        small: bool - for images of 32 x 32: the first convolution is 3x3 without stride, and there is no pooling.

    Source: He et al., CVPR 2016; stride in the 3x3: Goyal et al., arXiv:1706.02677; small: Liu, pytorch-cifar.

    Example:
        >>> import torch
        >>> ResNet(Basic, (1, 1, 1, 1), channels=3, classes=7, width=0.25)(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        block: type[Basic | Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        channels: int,
        classes: int,
        width: float = 1.0,
        small: bool = False,
    ) -> None:
        super().__init__()
        planes = [scaled(64 << stage, width) for stage in range(4)]
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(channels, planes[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        inputs = [planes[0], *(wide * block.expansion for wide in planes)]
        self.layer1 = _stage(block, inputs[0], planes[0], depths[0], stride=1)
        self.layer2 = _stage(block, inputs[1], planes[1], depths[1], stride=2)
        self.layer3 = _stage(block, inputs[2], planes[2], depths[2], stride=2)
        self.layer4 = _stage(block, inputs[3], planes[3], depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs[4], classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores


def _stage(
    block: type[Basic | Bottleneck], inputs: int, planes: int, depth: int, *, stride: int
) -> nn.Sequential:
    """Blocks in a row; the first has the stride, and a projection where the shapes differ."""
    outputs = planes * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    first = block(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, planes, 1, None) for _ in range(depth - 1)))


def he_fan_out(model: nn.Module) -> None:
    """Draw the weights of all convolutions by He's law for the backward pass, as the published networks do."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@register("resnet18")
def resnet18(*, channels: int = 3, classes: int = 1000, width: float = 1.0) -> ResNet:
    """ResNet-18 for ImageNet: 11.7 million parameters, 1.8 billion multiplications at 224 x 224.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> sum(parameter.numel() for parameter in resnet18().parameters())
        11689512
    """
    return ResNet(Basic, (2, 2, 2, 2), channels=channels, classes=classes, width=width)


@register("resnet50")
def resnet50(*, channels: int = 3, classes: int = 1000, width: float = 1.0) -> ResNet:
    """ResNet-50 version 1.5 for ImageNet: 25.6 million parameters, 4.1 billion multiplications at 224 x 224.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> sum(parameter.numel() for parameter in resnet50(width=0.25).parameters())
        1993976
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), channels=channels, classes=classes, width=width)


@register("resnet18-small")
def resnet18_small(*, channels: int = 3, classes: int = 10, width: float = 1.0) -> ResNet:
    """ResNet-18 for images of 32 x 32, as papers train it on CIFAR-10: 11.2 million parameters.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> sum(parameter.numel() for parameter in resnet18_small().parameters())
        11173962
    """
    return ResNet(Basic, (2, 2, 2, 2), channels=channels, classes=classes, width=width, small=True)
