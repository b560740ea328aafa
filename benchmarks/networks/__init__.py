"""Networks at their published sizes, in our own definitions.

In the folder of the benchmarks ``python -m networks`` prints parameters and multiply-adds of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.models import resnet18, resnet50
from networks.efficientnet_lite import EfficientNetLite0
from networks.mobilenet_v2 import MobileNetV2
from networks.resnet50_keras import load_keras, resnet50_keras
from networks.squeezenet import SqueezeNet, load_caffe
from networks.unet import UNet
from networks.yolov8 import YOLOv8n


def _by_name(model: nn.Module, arrays: Mapping[str, Any]) -> None:
    model.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})


@dataclass(frozen=True)
class Network:
    """A network, and what its publication says.

    Args:
        make: of a width, 1.0 as published.
        side: pixels of a square image.
        parameters: as published; of the U-Net, whose publication says none, as counted; of the detector without the 16
            fixed numbers by which its publication decodes boxes; of Keras' ResNet-50 without biases of convolutions.
        gigamacs: billions of multiply-adds at that size, as published; of EfficientNet-Lite0, SqueezeNet and the U-Net
            as counted.
        load: (model, name -> array) takes over published values; by the names of parameters where it is not said.
    """

    make: Callable[..., nn.Module]
    side: int
    parameters: int
    gigamacs: float
    load: Callable[[Any, Mapping[str, Any]], None] = _by_name


def _squeezenet_1_0(**more: Any) -> nn.Module:
    return SqueezeNet(version="1.0", **more)


def example(name: str, batch: int = 1) -> Tensor:
    """Images of the network's size, with numbers of mean zero and deviation one."""
    side = NETWORKS[name].side
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    """Products of weights and inputs in convolutions and linear layers, in one pass.

    >>> multiply_adds(nn.Conv2d(2, 3, 3, padding=1), torch.zeros(1, 2, 4, 5))
    1080
    """
    total = 0

    def count(module: Any, _inputs: Any, y: Tensor) -> None:
        nonlocal total
        total += y.numel() * module.weight[0].numel()

    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return total


NETWORKS: dict[str, Network] = {
    "resnet18": Network(resnet18, 224, 11_689_512, 1.81),
    "resnet50": Network(resnet50, 224, 25_557_032, 4.09),
    "resnet50_keras": Network(resnet50_keras, 224, 25_557_032, 3.86, load_keras),
    "mobilenet_v2": Network(MobileNetV2, 224, 3_504_872, 0.30),
    "efficientnet_lite0": Network(EfficientNetLite0, 224, 4_652_008, 0.385),
    "squeezenet1_0": Network(_squeezenet_1_0, 224, 1_248_424, 0.819, load_caffe),
    "squeezenet1_1": Network(SqueezeNet, 224, 1_235_496, 0.349),
    "unet": Network(UNet, 256, 34_519_298, 65.35),
    "yolov8n": Network(YOLOv8n, 640, 3_157_184, 4.4),
}
