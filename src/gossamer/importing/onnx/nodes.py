"""What each other operator of ONNX is in our graph, one function each."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.importing.onnx.build import Building, NotOurs, node
from gossamer.importing.onnx.file import Operation

PLAIN = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSwish": "hardswish",
    "Identity": "identity",
    "Dropout": "identity",
}


@node(*PLAIN)
def plain(building: Building, operation: Operation) -> None:
    """Without settings; dropout is off."""
    building.call(operation, PLAIN[operation.op])


@node("LeakyRelu", "Elu")
def sloped(building: Building, operation: Operation) -> None:
    """With a slope."""
    if operation.op == "LeakyRelu":
        building.call(operation, "leaky_relu", negative_slope=float(operation.settings.get("alpha", 0.01)))
    else:
        building.call(operation, "elu", alpha=float(operation.settings.get("alpha", 1.0)))


@node("PRelu")
def prelu(building: Building, operation: Operation) -> None:
    """A slope for each channel."""
    slopes = building.constant(operation, 1)
    if slopes is None or (slopes.size > 1 and slopes.shape[-2:] != (1, 1)):
        raise NotOurs("PRelu with a slope for each pixel")
    tensors = {"weight": slopes.astype(np.float32).reshape(-1)}
    building.call(operation, "prelu", tensors=tensors, count=slopes.size)


@node("Clip")
def clip(building: Building, operation: Operation) -> None:
    """Two bounds; of 0 and 6 it is ReLU6."""
    bounds = [building.constant(operation, at) for at in (1, 2)]
    given = [None if each is None else float(each.reshape(-1)[0]) for each in bounds]
    low, high = (operation.settings.get(n, v) for n, v in zip(("min", "max"), given, strict=True))
    if (low, high) == (0.0, 6.0):
        building.call(operation, "relu6")
    else:
        building.call(operation, "clamp", low=low, high=high)


@node("Softmax", "LogSoftmax")
def softmax(building: Building, operation: Operation) -> None:
    """Along one axis."""
    op = "softmax" if operation.op == "Softmax" else "log_softmax"
    building.call(operation, op, dim=operation.settings.get("axis", -1))


@node("Flatten")
def flatten(building: Building, operation: Operation) -> None:
    """All but the batch."""
    if operation.settings.get("axis", 1) != 1:
        raise NotOurs("Flatten of the batch")
    building.call(operation, "flatten", start_dim=1, end_dim=-1)


@node("Reshape")
def reshape(building: Building, operation: Operation) -> None:
    """To stated sizes; the batch stays."""
    sizes = building.constant(operation, 1)
    if sizes is None or operation.settings.get("allowzero"):
        raise NotOurs("Reshape to computed sizes")
    first, *rest = sizes.reshape(-1).tolist()
    if first not in (0, 1, -1) or (first == -1 and -1 in rest) or not rest:
        raise NotOurs(f"Reshape of the batch to {first}")
    building.call(operation, "reshape", sizes=(0, *rest))


@node("Transpose")
def transpose(building: Building, operation: Operation) -> None:
    """Of all dimensions but the batch."""
    dims = operation.settings.get("perm", ())
    if not dims or dims[0] != 0:
        raise NotOurs("Transpose of the batch")
    building.call(operation, "permute", dims=dims)


@node("Concat")
def concat(building: Building, operation: Operation) -> None:
    """Side by side."""
    names = [building.name(each) for each in operation.reads]
    made = building.builder.call("concatenate", *names, dim=operation.settings["axis"])
    building.names[operation.makes[0]] = made


@node("MaxPool", "AveragePool")
def pool(building: Building, operation: Operation) -> None:
    """Over images, with one border on both sides."""
    given = operation.settings
    pads = given.get("pads", (0, 0, 0, 0))
    kernel = given["kernel_shape"]
    if (
        len(kernel) != 2
        or pads[:2] != pads[2:]
        or given.get("auto_pad", "NOTSET") != "NOTSET"
        or len(operation.makes) > 1
    ):
        raise NotOurs(f"{operation.op} with uneven borders, or over other than images")
    more: dict[str, Any] = {"dilation": given.get("dilations", (1, 1))}
    if operation.op == "AveragePool":
        more = {"count_include_pad": bool(given.get("count_include_pad", 0))}
        if given.get("dilations", (1, 1)) != (1, 1):
            raise NotOurs("AveragePool with dilations")
    op = "max_pool2d" if operation.op == "MaxPool" else "avg_pool2d"
    stride, ceil = given.get("strides", (1, 1)), bool(given.get("ceil_mode", 0))
    building.call(operation, op, kernel=kernel, stride=stride, padding=pads[:2], ceil_mode=ceil, **more)


@node("GlobalAveragePool")
def mean(building: Building, operation: Operation) -> None:
    """Over height and width."""
    building.call(operation, "mean", dims=(2, 3), keepdim=True)


@node("BatchNormalization")
def batch_norm(building: Building, operation: Operation) -> None:
    """In evaluation."""
    held = [building.constant(operation, at) for at in (1, 2, 3, 4)]
    if len(operation.makes) > 1 or any(each is None for each in held):
        raise NotOurs("BatchNormalization that is trained")
    arrays = [np.asarray(each, np.float32) for each in held]
    tensors = dict(zip(("weight", "bias", "mean", "variance"), arrays, strict=True))
    eps = float(operation.settings.get("epsilon", 1e-5))
    building.call(operation, "batch_norm", tensors=tensors, features=arrays[0].size, eps=eps, affine=True)


@node("DepthToSpace")
def depth_to_space(building: Building, operation: Operation) -> None:
    """Either order of channels."""
    order = "channel first" if operation.settings.get("mode", "DCR") == "CRD" else "pixel first"
    building.call(operation, "pixel_shuffle", factor=operation.settings["blocksize"], order=order)
