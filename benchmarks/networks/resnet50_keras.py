"""ResNet-50 as Keras published it: the stride of a block is in its first 1x1 convolution, and convolutions have biases.

Source: He et al., CVPR 2016, Table 1; values as Keras names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gossamer.models import resnet50

EPS = 1e-3
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def resnet50_keras(*, width: float = 1.0, classes: int = 1000) -> nn.Module:
    """The network for images [batch, 3, height, width], blue first, less the mean of each colour."""
    model = resnet50(width=width, classes=classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPS
    for stage in (model.layer2, model.layer3, model.layer4):
        first: Any = stage[0]
        first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
    return model


def _layers(model: Any) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolution and batch norm by the name of both, as in res2a_branch2a and bn2a_branch2a."""
    found = {}
    for number, stage in enumerate((model.layer1, model.layer2, model.layer3, model.layer4), 2):
        for letter, block in zip("abcdef", stage, strict=False):
            place = f"{number}{letter}_branch"
            found[f"{place}2a"] = (block.conv1, block.bn1)
            found[f"{place}2b"] = (block.conv2, block.bn2)
            found[f"{place}2c"] = (block.conv3, block.bn3)
            if block.downsample is not None:
                found[f"{place}1"] = (block.downsample[0], block.downsample[1])
    return found


def load_keras(model: Any, arrays: Mapping[str, Any]) -> None:
    """Take over the arrays of Keras; biases of convolutions move into the means of their batch norms.

    Raises:
        ValueError: the arrays are not those of this network.
    """
    layers = {f"res{name}": (f"bn{name}", *pair) for name, pair in _layers(model).items()}
    layers["conv1"] = ("bn_conv1", model.conv1, model.bn1)
    names = {f"{conv}|{part}" for conv in layers for part in ("kernel", "bias")}
    names |= {f"{norm}|{part}" for norm, *_ in layers.values() for part in NORM}
    if names | {"fc1000|kernel", "fc1000|bias"} != set(arrays):
        raise ValueError("the arrays are not those of a ResNet-50 of Keras")
    held = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        for conv, (norm, convolution, batch_norm) in layers.items():
            scale, shift, mean, variance = (held[f"{norm}|{part}"] for part in NORM)
            convolution.weight.copy_(held[f"{conv}|kernel"].permute(3, 2, 0, 1))
            batch_norm.weight.copy_(scale)
            batch_norm.bias.copy_(shift)
            batch_norm.running_mean.copy_(mean - held[f"{conv}|bias"])
            batch_norm.running_var.copy_(variance)
        model.fc.weight.copy_(held["fc1000|kernel"].T)
        model.fc.bias.copy_(held["fc1000|bias"])
