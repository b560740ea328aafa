"""The thin residual networks of CIFAR-10: three stages of 16, 32 and 64 channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.models.base import register, scaled
from gossamer.models.resnet import Basic
from gossamer.nn.polyphase import Subsample


class Padded(nn.Module):
    """The shortcut without parameters (option A): every second pixel, and zeros for the channels that are new.

    Args:
        inputs, outputs: int - channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.thin = Subsample(2)
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, outputs, height / 2, width / 2]."""
        return F.pad(self.thin(x), (0, 0, 0, 0, self.before, self.after))


class ThinResNet(nn.Module):
    """A residual network of 6 n + 2 layers for images of 32 x 32.

    Args:
        depth: int - n, blocks of a stage.
        channels: int - of the images.
        classes: int - outputs.
        width: float - factor of all channels.

    Source: He et al., CVPR 2016, section 4.2; parameters are named as in Idelbayev, pytorch_resnet_cifar10.

    Example:
        >>> import torch
        >>> ThinResNet(1, channels=3, classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, depth: int, *, channels: int, classes: int, width: float = 1.0) -> None:
        super().__init__()
        planes = [scaled(16 << stage, width) for stage in range(3)]
        self.conv1 = nn.Conv2d(channels, planes[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU()
        same = [[Basic(wide, wide, 1, None) for _ in range(depth - 1)] for wide in planes]
        self.layer1 = nn.Sequential(Basic(planes[0], planes[0], 1, None), *same[0])
        self.layer2 = nn.Sequential(Basic(planes[0], planes[1], 2, Padded(planes[0], planes[1])), *same[1])
        self.layer3 = nn.Sequential(Basic(planes[1], planes[2], 2, Padded(planes[1], planes[2])), *same[2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(planes[2], classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to [batch, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.linear(self.avgpool(x).flatten(1))
        return scores


@register("resnet20")
def resnet20(*, channels: int = 3, classes: int = 10, width: float = 1.0) -> ThinResNet:
    """ResNet-20 for CIFAR-10: 0.27 million parameters, 40.6 million multiplications.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ThinResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> sum(parameter.numel() for parameter in resnet20().parameters())
        269722
    """
    return ThinResNet(3, channels=channels, classes=classes, width=width)


@register("resnet32")
def resnet32(*, channels: int = 3, classes: int = 10, width: float = 1.0) -> ThinResNet:
    """ResNet-32 for CIFAR-10: 0.46 million parameters.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ThinResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> len(resnet32().layer1)
        5
    """
    return ThinResNet(5, channels=channels, classes=classes, width=width)


@register("resnet56")
def resnet56(*, channels: int = 3, classes: int = 10, width: float = 1.0) -> ThinResNet:
    """ResNet-56 for CIFAR-10: 0.85 million parameters.

    Args:
        channels: int - of the images.
        classes: int - outputs.
        width: float in [1/64, 64] - factor of all channels.

    Returns:
        ThinResNet.

    Raises:
        ConfigError: a width out of range.

    Example:
        >>> len(resnet56().layer1)
        9
    """
    return ThinResNet(9, channels=channels, classes=classes, width=width)
