"""What each operator of TFLite is in our graph, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.importing.tflite.build import PLANES, Building, node
from gossamer.importing.tflite.file import Constant
from gossamer.layouts.arrays import aligned
from gossamer.layouts.connections import Connections
from gossamer.layouts.geometry import Geometry
from gossamer.network.graph import Linear

if TYPE_CHECKING:
    from gossamer.importing.tflite.file import Operation
    from gossamer.importing.tflite.flat import Record

SAME, VALID = 0, 1


def connections(weight: Constant, shape: tuple[int, int], bias: Any) -> Connections:
    """A weight whose numbers lie in the order of its matrix: zeros are no connections."""
    values, places = weight.values.reshape(-1), weight.positions
    alive = values != 0
    at = np.flatnonzero(alive) if places is None else places[alive]
    held = aligned(values[alive].astype(np.float32))
    return Connections(shape, at.astype(np.int64), held, None if bias is None else aligned(bias))


def bias_of(building: Building, operation: Operation, count: int) -> Any:
    """The third input, if there is one."""
    if len(operation.reads) < 3 or operation.reads[2] < 0:
        return None
    bias = building.constant(operation.reads[2]).dense().astype(np.float32).reshape(-1)
    if bias.size != count:
        raise building.file.wrong(f"a bias of {count}", f"{bias.size}")
    return bias


def borders(kind: int, sizes: Any, kernel: Any, stride: Any, dilation: Any) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of "same" or "valid" padding; an odd pixel goes to the right and the bottom."""
    if kind not in (SAME, VALID) or min(stride) < 1:
        raise ValueError(f"padding {kind} with stride {stride}")
    if kind == VALID:
        return (0, 0, 0, 0)
    total = [
        max((-(-size // step) - 1) * step + (k - 1) * d + 1 - size, 0)
        for size, k, step, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    return (total[1] // 2, -(-total[1] // 2), total[0] // 2, -(-total[0] // 2))


@node(3)
def conv_2d(building: Building, operation: Operation, options: Record) -> None:
    """CONV_2D: a weight [out, height, width, in]."""
    weight = building.constant(operation.reads[1])
    n_out, *kernel, inner = weight.shape
    dilation = (options.number(5, "int32", 1), options.number(4, "int32", 1))
    groups = building.shape(operation.reads[0])[3] // inner
    _convolve(building, operation, options, weight, (n_out, tuple(kernel), groups), dilation, 3)


@node(4)
def depthwise_conv_2d(building: Building, operation: Operation, options: Record) -> None:
    """DEPTHWISE_CONV_2D: a weight [1, height, width, out]."""
    weight = building.constant(operation.reads[1])
    _, *kernel, n_out = weight.shape
    turned = weight.dense()[0].transpose(2, 0, 1).reshape(n_out, -1)
    dilation = (options.number(6, "int32", 1), options.number(5, "int32", 1))
    groups = building.shape(operation.reads[0])[3]
    _convolve(
        building,
        operation,
        options,
        Constant(turned.shape, turned),
        (n_out, tuple(kernel), groups),
        dilation,
        4,
    )


def _convolve(
    building: Building,
    operation: Operation,
    options: Record,
    weight: Constant,
    shape: tuple[int, Any, int],
    dilation: tuple[int, int],
    activation: int,
) -> None:
    n_out, kernel, groups = shape
    _, *sizes, channels = building.shape(operation.reads[0])
    stride = (options.number(2, "int32"), options.number(1, "int32"))
    around = borders(options.number(0, "int8"), sizes, kernel, stride, dilation)
    geometry = Geometry(channels, kernel, stride, around, dilation, groups)
    if n_out % groups or groups * geometry.columns != channels * kernel[0] * kernel[1]:
        raise building.file.wrong(f"groups that divide {channels} and {n_out} channels", f"{groups}")
    held = connections(weight, (n_out, geometry.columns), bias_of(building, operation, n_out))
    name = building.file.values[operation.makes[0]].name
    made = building.builder.linear(name, building.name(operation.reads[0]), Linear(held, geometry=geometry))
    building.made(operation, made, options.number(activation, "int8"))


@node(9)
def fully_connected(building: Building, operation: Operation, options: Record) -> None:
    """FULLY_CONNECTED: a weight [out, in], of all numbers of a sample."""
    weight = building.constant(operation.reads[1])
    n_out, n_in = weight.shape
    held = connections(weight, (n_out, n_in), bias_of(building, operation, n_out))
    name = building.plain(operation.reads[0])
    if not options.number(2, "bool") and building.shape(operation.reads[0])[1:] != (n_in,):
        name = building.builder.call("flatten", name, start_dim=1, end_dim=-1)
    made = building.builder.linear(building.file.values[operation.makes[0]].name, name, Linear(held))
    building.made(operation, made, options.number(0, "int8"))


@node(6, 124)
def known(building: Building, operation: Operation, _options: Record) -> None:
    """DEQUANTIZE and DENSIFY of numbers in the file: the same numbers, in float32."""
    found = building.constant(operation.reads[0])
    building.constants[operation.makes[0]] = found._replace(values=found.values.astype(np.float32))


@node(0, 18)
def both(building: Building, operation: Operation, options: Record) -> None:
    """ADD and MUL: of two values that are computed, or of one and a number for each channel."""
    op = "add" if operation.code == 0 else "mul"
    first, second = operation.reads[:2]
    if building.known(first) is not None:
        first, second = second, first
    if (number := building.known(second)) is None:
        if building.shape(first) != building.shape(second):
            raise building.file.wrong(
                "two values of one shape", f"{building.shape(first)}, {building.shape(second)}", ""
            )
        made = building.builder.call(op, building.name(first), building.name(second))
    elif number.dense().size == 1:
        value = float(number.dense().reshape(-1)[0])
        made = building.builder.call("scalar", building.name(first), function=op, number=value)
    else:
        made = _affine(building, first, op, number.dense().astype(np.float32).reshape(-1))
    building.made(operation, made, options.number(0, "int8"))


def _affine(building: Building, value: int, op: str, numbers: Any) -> str:
    """A number for each channel added or multiplied, as batch normalisation does."""
    count = building.shape(value)[-1]
    if numbers.size != count or len(building.shape(value)) not in (2, 4):
        raise building.file.wrong(f"a number for each of {count} channels", f"{numbers.size}", "")
    zeros, ones = np.zeros(count, np.float32), np.ones(count, np.float32)
    scale, shift = (ones, numbers) if op == "add" else (numbers, zeros)
    tensors = {"mean": zeros, "variance": ones, "weight": scale, "bias": shift}
    return building.builder.call(
        "batch_norm", building.name(value), tensors=tensors, features=count, eps=0.0, affine=True
    )


@node(34, 60)
def pad(building: Building, operation: Operation, _options: Record) -> None:
    """PAD and PADV2."""
    sides = building.constant(operation.reads[1]).dense().astype(np.int64).reshape(-1, 2).tolist()
    if len(sides) != len(building.shape(operation.reads[0])):
        raise building.file.wrong("a border of each dimension", f"{len(sides)}")
    if len(sides) == 4:
        sides = [sides[dim] for dim in PLANES]
    value = (
        0.0
        if len(operation.reads) < 3
        else float(building.constant(operation.reads[2]).dense().reshape(-1)[0])
    )
    while len(sides) > 1 and sides[0] == [0, 0]:
        sides = sides[1:]
    border = tuple(number for side in reversed(sides) for number in side)
    building.made(
        operation, building.builder.call("pad", building.name(operation.reads[0]), border=border, value=value)
    )


@node(22)
def reshape(building: Building, operation: Operation, _options: Record) -> None:
    """RESHAPE: of the numbers in the order of the file; the batch stays where it is."""
    before, after = (building.shape(each) for each in (operation.reads[0], operation.makes[0]))
    if not before or not after or before[0] != after[0] or np.prod(before) != np.prod(after):
        raise building.file.wrong("a shape of as many numbers in one batch", f"{before} as {after}", "")
    sizes = (0, *after[1:]) if len(after) > 1 else (0, -1)
    name = building.builder.call("reshape", building.plain(operation.reads[0]), sizes=sizes)
    if len(after) == 4:
        name = building.builder.call("permute", name, dims=PLANES)
    building.made(operation, name)


@node(2)
def concatenation(building: Building, operation: Operation, options: Record) -> None:
    """CONCATENATION."""
    rank = len(building.shape(operation.makes[0]))
    axis = options.number(0, "int32") % rank
    dim = PLANES.index(axis) if rank == 4 else axis
    names = [building.name(each) for each in operation.reads]
    building.made(operation, building.builder.call("concatenate", *names, dim=dim), options.number(1, "int8"))


@node(5)
def depth_to_space(building: Building, operation: Operation, options: Record) -> None:
    """DEPTH_TO_SPACE."""
    factor = options.number(0, "int32")
    name = building.name(operation.reads[0])
    building.made(operation, building.builder.call("pixel_shuffle", name, factor=factor, order="pixel first"))


@node(23, 97)
def resize(building: Building, operation: Operation, options: Record) -> None:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR, where pixels have middles, or corners are aligned."""
    first = 2 if operation.code == 23 else 0
    corners, halves = (bool(options.number(first + at, "bool")) for at in (0, 1))
    size = building.shape(operation.makes[0])[1:3]
    name, bilinear = building.name(operation.reads[0]), operation.code == 23
    if bilinear != (corners or halves) or (corners and halves):
        raise building.file.wrong(
            "bilinear images with half-pixel centers or aligned corners, nearest ones without",
            f"align_corners={corners}, half_pixel_centers={halves}",
            "",
        )
    more: dict[str, Any] = {"align_corners": corners} if bilinear else {}
    op = "upsample_bilinear2d" if bilinear else "upsample_nearest2d"
    building.made(operation, building.builder.call(op, name, size=size, **more))


@node(1, 17)
def pool(building: Building, operation: Operation, options: Record) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D; borders are the same on both sides."""
    _, *sizes, _ = building.shape(operation.reads[0])
    stride, kernel = ((options.number(at + 1, "int32"), options.number(at, "int32")) for at in (1, 3))
    left, right, top, bottom = borders(options.number(0, "int8"), sizes, kernel, stride, (1, 1))
    more: dict[str, Any] = {} if operation.code == 17 else {"count_include_pad": False}
    uneven = (left, top) != (right, bottom)
    if uneven and (left or top):
        raise building.file.wrong(
            "a pool with the same border on both sides", f"{(left, right, top, bottom)}", ""
        )
    op = "max_pool2d" if operation.code == 17 else "avg_pool2d"
    made = building.builder.call(
        op,
        building.name(operation.reads[0]),
        kernel=kernel,
        stride=stride,
        padding=(top, left),
        ceil_mode=uneven,
        **more,
    )
    building.made(operation, made, options.number(5, "int8"))


@node(14, 19, 21, 25, 28, 117)
def activation(building: Building, operation: Operation, _options: Record) -> None:
    """LOGISTIC, RELU, RELU6, SOFTMAX, TANH, HARD_SWISH."""
    names = {14: "sigmoid", 19: "relu", 21: "relu6", 25: "softmax", 28: "tanh", 117: "hardswish"}
    last = 1 if len(building.shape(operation.reads[0])) == 4 else -1
    more: dict[str, Any] = {"dim": last} if operation.code == 25 else {}
    name = building.name(operation.reads[0])
    building.made(operation, building.builder.call(names[operation.code], name, **more))


@node(54)
def prelu(building: Building, operation: Operation, _options: Record) -> None:
    """PRELU: slopes [1, 1, channels]."""
    slopes = building.constant(operation.reads[1]).dense().astype(np.float32).reshape(-1)
    if slopes.size not in (1, building.shape(operation.reads[0])[-1]):
        raise building.file.wrong("a slope for each channel", f"{slopes.size}", "")
    name = building.name(operation.reads[0])
    made = building.builder.call("prelu", name, tensors={"weight": slopes}, count=slopes.size)
    building.made(operation, made)


@node(98)
def leaky_relu(building: Building, operation: Operation, options: Record) -> None:
    """LEAKY_RELU."""
    name = building.name(operation.reads[0])
    building.made(operation, building.builder.call("leaky_relu", name, negative_slope=options.real(0)))


@node(40)
def mean(building: Building, operation: Operation, options: Record) -> None:
    """MEAN over height and width."""
    axes = sorted(building.constant(operation.reads[1]).dense().reshape(-1).tolist())
    keep = bool(options.number(0, "bool"))
    if axes != [1, 2] or len(building.shape(operation.reads[0])) != 4:
        raise building.file.wrong("a mean over height and width", f"axes {axes}", "")
    name = building.name(operation.reads[0])
    building.made(operation, building.builder.call("mean", name, dims=(2, 3), keepdim=keep))
