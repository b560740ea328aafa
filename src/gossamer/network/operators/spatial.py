"""Convolutions and pools: dense for now; a sparse convolution's zeros are multiplied in."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.network.operators.base import (
    Border,
    Operator,
    Read,
    Settings,
    Size,
    Step,
    Tensors,
    Unsupported,
    operator,
)
from gossamer.nn import MaskedConv2d

Pair = tuple[Step, Step]
Borders = tuple[Border, Border]


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


class Pool(Settings):
    """A window that slides."""

    kernel: Pair
    stride: Pair
    padding: Borders = (0, 0)
    ceil_mode: bool = False


class MaxPool(Pool):
    """And may be dilated."""

    dilation: Pair = (1, 1)


class AvgPool(Pool):
    """And may count the border."""

    count_include_pad: bool = True


class Output(Settings):
    """A fixed output size."""

    size: Pair


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _conv(xs: tuple[Tensor, ...], s: Convolution, tensors: Tensors) -> Tensor:
    x = xs[0] if s.mode == "zeros" else F.pad(xs[0], s.border, mode=s.mode)
    return F.conv2d(x, tensors["weight"], tensors.get("bias"), s.stride, s.padding, s.dilation, s.groups)


def _conv_shapes(s: Convolution) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"weight": (s.out_channels, s.in_channels // s.groups, *s.kernel)}
    return shapes | ({"bias": (s.out_channels,)} if s.bias else {})


def _convolution(
    weight: Tensor, bias: Tensor | None, around: dict[str, Any], mode: str, border: list[int]
) -> Read:
    """Settings and tensors; a padding given in words is worked out."""
    kernel, dilation = tuple(weight.shape[2:]), _pair(around["dilation"])
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
        "stride": _pair(around["stride"]),
        "padding": _pair(padding) if mode == "zeros" else (0, 0),
        "dilation": dilation,
        "groups": around["groups"],
        "bias": bias is not None,
        "mode": mode,
        "border": left if mode != "zeros" else (0, 0, 0, 0),
    }
    settings = Convolution(**read)
    tensors = {"weight": weight.detach().clone()} | ({} if bias is None else {"bias": bias.detach().clone()})
    return settings, tensors


def _dense_conv(module: nn.Conv2d) -> Read:
    around = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
    border = module._reversed_padding_repeated_twice  # noqa: SLF001 (what torch itself pads with)
    return _convolution(module.weight, module.bias, around, module.padding_mode, border)


def _masked_conv(module: MaskedConv2d) -> Read:
    weight = module.effective_weight()
    return _convolution(weight, module.bias, module.settings, module.padding_mode, module.padding_repeated)


operator(
    Operator(
        "conv2d",
        _conv,
        Convolution,
        {nn.Conv2d: _dense_conv, MaskedConv2d: _masked_conv},
        shapes=_conv_shapes,
    )
)


def _max(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **more: Any,
) -> MaxPool:
    if more.get("return_indices"):
        raise Unsupported("indices as a second output")
    return MaxPool(
        kernel=_pair(kernel_size),
        stride=_pair(kernel_size if stride is None else stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        ceil_mode=ceil_mode,
    )


def _max_module(m: nn.MaxPool2d) -> Read:
    return _max(
        m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, return_indices=m.return_indices
    ), {}


operator(
    Operator(
        "max_pool2d",
        lambda xs, s, _t: F.max_pool2d(xs[0], s.kernel, s.stride, s.padding, s.dilation, s.ceil_mode),
        MaxPool,
        {nn.MaxPool2d: _max_module},
        {F.max_pool2d: _max, torch.max_pool2d: _max},
    )
)


def _avg(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> AvgPool:
    if divisor_override is not None:
        raise Unsupported("a divisor of its own")
    return AvgPool(
        kernel=_pair(kernel_size),
        stride=_pair(kernel_size if stride is None else stride),
        padding=_pair(padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def _avg_module(m: nn.AvgPool2d) -> Read:
    return _avg(m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override), {}


operator(
    Operator(
        "avg_pool2d",
        lambda xs, s, _t: F.avg_pool2d(
            xs[0], s.kernel, s.stride, s.padding, s.ceil_mode, s.count_include_pad
        ),
        AvgPool,
        {nn.AvgPool2d: _avg_module},
        {F.avg_pool2d: _avg},
    )
)


def _adaptive(output_size: Any) -> Output:
    return Output(size=_pair(output_size))


operator(
    Operator(
        "adaptive_avg_pool2d",
        lambda xs, s, _t: F.adaptive_avg_pool2d(xs[0], s.size),
        Output,
        {nn.AdaptiveAvgPool2d: lambda m: (_adaptive(m.output_size), {})},
        {F.adaptive_avg_pool2d: _adaptive},
    )
)
