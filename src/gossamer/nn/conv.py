"""A masked two-dimensional convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from gossamer.nn.kinds import Kind, kind
from gossamer.nn.masked import Masked
from gossamer.patterns import Pattern
from gossamer.topology import TileScores


class MaskedConv2d(Masked):
    """A convolution with a sparse weight, held dense under a mask: rules and accounting work, speed and memory do not.

    The weight is seen as a matrix ``[out, kh * kw * in / groups]``, channels last, so that N:M groups run along them.

    Args:
        conv: nn.Conv2d - gives shape, stride, padding, dilation, groups, device and dtype; its values are not kept.
        density: float in (0, 1].
        pattern: Pattern, or its short name such as "fanin:4" - FanIn() by default.
        generator: torch.Generator or None.
        fan_in, law: see SparseLinear.
    Cost: that of nn.Conv2d plus one product with the mask.
    Example:
        >>> layer = MaskedConv2d(nn.Conv2d(8, 4, 3), density=0.5)
        >>> layer(torch.ones(1, 8, 5, 5)).shape, layer.connections
        (torch.Size([1, 4, 3, 3]), 144)
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        *,
        density: float,
        pattern: Pattern | str | None = None,
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = "he_normal",
    ) -> None:
        out, inner, kh, kw = conv.weight.shape
        super().__init__((out, inner * kh * kw), pattern, density, fan_in, law, conv.weight.dtype)
        self.settings: dict[str, Any] = {
            "stride": conv.stride,
            "padding": conv.padding,
            "dilation": conv.dilation,
            "groups": conv.groups,
        }
        self.padding_mode = conv.padding_mode
        self.padding_repeated = conv._reversed_padding_repeated_twice  # noqa: SLF001 (as nn.Conv2d computed it)
        bias = torch.zeros(out, device=conv.weight.device, dtype=conv.weight.dtype)
        self.bias = nn.Parameter(bias) if conv.bias is not None else None
        self._make_home((out, inner, kh, kw), conv.weight.device, conv.weight.dtype)
        self.reset_parameters(generator)

    @classmethod
    def of(cls, dense: Any, device: torch.device | None = None, **drawn: Any) -> Self:  # noqa: ARG003 (stays)
        """In the shape of an nn.Conv2d, where it is."""
        return cls(dense, **drawn)

    def to_matrix(self, weight: Tensor) -> Tensor:
        """[out, kh * kw * in]: channels last."""
        return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)

    def _from_matrix(self, matrix: Tensor) -> Tensor:
        """[out, in, kh, kw]."""
        out, inner, kh, kw = self.weight.shape
        return matrix.view(out, kh, kw, inner).permute(0, 3, 1, 2)

    def _padded(self, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Input and settings with padding applied here, unless it is a number of zeros, which a product takes."""
        if self.padding_mode == "zeros" and not isinstance(self.settings["padding"], str):
            return x, self.settings
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, self.padding_repeated, mode=mode), {**self.settings, "padding": 0}

    def compute(self, x: Tensor) -> Tensor:
        """[batch, in, height, width] to [batch, out, height', width']; or the same without a batch."""
        x, settings = self._padded(x)
        return F.conv2d(x, self.effective_weight(), self.bias, **settings)

    def _whole_gradient(self) -> Tensor:
        """[rows, h, cols, w]: the dense gradient as units; of dense size, as the weight is here anyway."""
        total = torch.zeros_like(self.weight)
        for x, dy in self.tape.pairs:
            padded, settings = self._padded(x.to(total.dtype))
            batch, upstream = (t if t.dim() == 4 else t.unsqueeze(0) for t in (padded, dy.to(total.dtype)))
            total += conv2d_weight(batch, self.weight.shape, upstream, **settings)
        grid = self.grid
        return self.to_matrix(total).reshape(grid.rows, grid.h, grid.cols, grid.w).cpu()

    def gradient_tile(self, rows: slice, cols: slice) -> Tensor:
        """A part of the dense gradient."""
        return _tile_of(self._whole_gradient(), rows, cols)

    def gradient_scores(self, name: str) -> TileScores:
        """As for every layer, but computed once for all tiles and passes."""
        scores, whole = super().gradient_scores(name), list[Tensor]()

        def tile(rows: slice, cols: slice) -> Tensor:
            if not whole:
                whole.append(self._whole_gradient())
            return _tile_of(whole[0], rows, cols)

        return replace(scores, rows=tile)


def _tile_of(units: Tensor, rows: slice, cols: slice) -> Tensor:
    """[rows * h, cols * w], contiguous and in memory of its own."""
    part = units[rows, :, cols].clone(memory_format=torch.contiguous_format)
    return part.flatten(2).flatten(0, 1)


kind(Kind("conv2d", dense=(nn.Conv2d,), masked=MaskedConv2d, packed=None, example=lambda: nn.Conv2d(1, 1, 1)))
