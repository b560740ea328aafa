"""What the networks share."""

from __future__ import annotations

from torch import nn


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    act: nn.Module | None = None,
    eps: float = 1e-5,
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, a batch norm, and an activation if there is one."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=eps), *([] if act is None else [act]))


def eights(channels: float) -> int:
    """The nearest multiple of eight that is at least nine tenths of a number of channels.

    >>> eights(32 * 0.35), eights(24)
    (16, 24)
    """
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
