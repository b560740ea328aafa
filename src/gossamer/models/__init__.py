"""Convolutional networks at their published sizes, by name.

>>> from gossamer import models
>>> models.build({"name": "resnet20"}, channels=3, classes=10).linear
Linear(in_features=64, out_features=10, bias=True)
"""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.models.base import build, describe, models, register
from gossamer.models.resnet import resnet18, resnet18_small, resnet50
from gossamer.models.resnet_cifar import resnet20, resnet32, resnet56
from gossamer.models.wide_resnet import wrn_22_2

__all__ = [
    "build",
    "describe",
    "models",
    "register",
    "resnet18",
    "resnet18_small",
    "resnet20",
    "resnet32",
    "resnet50",
    "resnet56",
    "wrn_22_2",
]
