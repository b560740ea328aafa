"""A convolution, dense: a sparse one's zeros are multiplied in."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from gossamer.network.operators.base import (
    Border,
    Inputs,
    Operator,
    Read,
    Settings,
    Shape,
    Size,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.network.operators.spatial import Borders, Pair, images, pair


class Convolution(Settings):
    """A convolution; ``border`` (left, right, top, bottom) is padded first where the mode is not zeros."""

    out_channels: Size
    in_channels: Size
    kernel: Pair
    stride: Pair
    padding: Borders
    dilation: Pair
    groups: Size
    bias: bool
    mode: Literal["zeros", "circular", "reflect", "replicate"] = "zeros"
    border: tuple[Border, Border, Border, Border] = (0, 0, 0, 0)


def _tensors(torch: Any, xs: Inputs, s: Convolution, tensors: Tensors) -> Any:
    functional = torch.nn.functional
    x = xs[0] if s.mode == "zeros" else functional.pad(xs[0], s.border, mode=s.mode)
    around = (s.stride, s.padding, s.dilation, s.groups)
    return functional.conv2d(x, tensors["weight"], tensors.get("bias"), *around)


IN_NUMPY: Final = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def _arrays(xs: Inputs, s: Convolution, tensors: Tensors) -> Any:
    """One product of matrices for each place of the kernel and each group."""
    (x,), weight = xs, tensors["weight"]
    batch, _, *sides = _shape((x.shape,), s)
    left, right, top, bottom = s.border if s.mode != "zeros" else (s.padding[1],) * 2 + (s.padding[0],) * 2
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=IN_NUMPY[s.mode])  # type: ignore[call-overload]
    grouped = x.reshape(batch, s.groups, -1, *x.shape[2:])
    weight = weight.reshape(s.groups, -1, *weight.shape[1:])
    y = np.zeros((batch, s.groups, weight.shape[1], sides[0] * sides[1]), x.dtype)
    steps = [slice(0, (size - 1) * step + 1, step) for size, step in zip(sides, s.stride, strict=True)]
    for row, column in np.ndindex(*s.kernel):
        seen = grouped[:, :, :, row * s.dilation[0] :, column * s.dilation[1] :][..., steps[0], steps[1]]
        y += weight[None, :, :, :, row, column] @ seen.reshape(*seen.shape[:3], -1)
    y = y.reshape(batch, s.out_channels, *sides)
    return y + tensors["bias"][:, None, None] if s.bias else y


def _shapes(s: Convolution) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {"weight": (s.out_channels, s.in_channels // s.groups, *s.kernel)}
    return shapes | ({"bias": (s.out_channels,)} if s.bias else {})


def _shape(shapes: tuple[Shape, ...], s: Convolution) -> Shape:
    """[batch, out_channels, ...], and how often the kernel fits into each side.

    Example:
        >>> same = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        >>> _shape(((0, 2, 5, 7),), Convolution(out_channels=4, in_channels=2, bias=False, **same))
        (0, 4, 5, 7)
    """
    batch, channels, height, width = images(shapes)
    if channels != s.in_channels or s.in_channels % s.groups or s.out_channels % s.groups:
        raise ValueError(f"{channels} channels for {s.in_channels} -> {s.out_channels} in {s.groups} groups")
    left, right, top, bottom = s.border if s.mode != "zeros" else (0, 0, 0, 0)
    for size, borders in ((height, (top, bottom)), (width, (left, right))):
        if max(borders) > {"circular": size, "reflect": size - 1}.get(s.mode, max(borders)):
            raise ValueError(f"a {s.mode} border of {max(borders)} around {size}")
    padded = (height + top + bottom + 2 * s.padding[0], width + left + right + 2 * s.padding[1])
    reach = [d * (k - 1) + 1 for d, k in zip(s.dilation, s.kernel, strict=True)]
    if any(r > size for r, size in zip(reach, padded, strict=True)):
        raise ValueError(f"a kernel of {reach} in {list(padded)}")
    sides = ((size - r) // step + 1 for size, r, step in zip(padded, reach, s.stride, strict=True))
    return (batch, s.out_channels, *sides)


def _read(weight: Any, bias: Any, around: dict[str, Any], mode: str, border: list[int]) -> Read:
    """Settings and tensors; a padding given in words is worked out."""
    kernel, dilation = tuple(weight.shape[2:]), pair(around["dilation"])
    padding, left = around["padding"], tuple(border)
    if padding == "valid":
        padding, left = (0, 0), (0, 0, 0, 0)
    elif padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if any(t % 2 for t in total):
            raise Unsupported("uneven 'same' padding")
        padding = (total[0] // 2, total[1] // 2)
    read: dict[str, Any] = {
        "out_channels": weight.shape[0],
        "in_channels": weight.shape[1] * around["groups"],
        "kernel": kernel,
        "stride": pair(around["stride"]),
        "padding": pair(padding) if mode == "zeros" else (0, 0),
        "dilation": dilation,
        "groups": around["groups"],
        "bias": bias is not None,
        "mode": mode,
        "border": left if mode != "zeros" else (0, 0, 0, 0),
    }
    return Convolution(**read), {"weight": weight} | ({} if bias is None else {"bias": bias})


def _dense(module: Any) -> Read:
    around = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
    border = module._reversed_padding_repeated_twice  # noqa: SLF001 (what torch itself pads with)
    return _read(module.weight, module.bias, around, module.padding_mode, border)


def _masked(module: Any) -> Read:
    weight = module.effective_weight()
    return _read(weight, module.bias, module.settings, module.padding_mode, module.padding_repeated)


operator(
    Operator(
        "conv2d",
        _tensors,
        _arrays,
        ulps=64,
        settings=Convolution,
        modules={"torch.nn.Conv2d": _dense, "gossamer.nn.MaskedConv2d": _masked},
        shapes=_shapes,
        shape=_shape,
    )
)
