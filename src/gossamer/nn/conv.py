"""Sparse convolutions, packed and masked, in one and two dimensions."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gossamer import ops
from gossamer.errors import ShapeError
from gossamer.nn.conv_shape import Size, check_taps, geometry_of, left_dense, shape_like
from gossamer.nn.inputs import rows_of_images
from gossamer.nn.kinds import Kind, kind
from gossamer.nn.masked import Masked
from gossamer.nn.packed import Packed
from gossamer.nn.sparse import SparseModule
from gossamer.ops.conv_growth import add_gradient_tile
from gossamer.ops.dense_conv import dense_conv, padded
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown


class _Conv(SparseModule):
    """What convolutions of both homes share: construction, images, and rows of the dense gradient.

    The weight is the matrix [out, kernel * channels of a group], channels innermost, so that N:M and blocks run along
    the channels of one tap.
    """

    dense: ClassVar[type[nn.Conv1d | nn.Conv2d]]

    @answers_unknown
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        density: float,
        pattern: Pattern | str | None = None,
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = "he_normal",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        channels, rest = (in_channels, out_channels), {"groups": groups, "padding_mode": padding_mode}
        like = shape_like(self.dense, channels, sizes, **rest)
        geometry = geometry_of(like)
        super().__init__((out_channels, geometry.columns), pattern, density, fan_in, law, dtype)
        check_taps(self.pattern, geometry, out_channels)
        self.geometry = geometry
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = like.kernel_size, like.stride, like.dilation
        self.padding, self.padding_mode = like.padding, padding_mode
        self.bias = nn.Parameter(torch.zeros(out_channels, device=device, dtype=dtype)) if bias else None
        self._make_home(self.dense_size, device, dtype)
        self.reset_parameters(generator)

    @classmethod
    def of(cls, dense: Any, device: torch.device | None = None, **drawn: Any) -> Self:
        """In the shape of a convolution of torch."""
        place, dtype = device or dense.weight.device, dense.weight.dtype
        names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"]
        around = {name: getattr(dense, name) for name in (*names, "padding_mode")}
        return cls(**around, bias=dense.bias is not None, device=place, dtype=dtype, **drawn)

    @property
    def dense_size(self) -> tuple[int, ...]:
        """(out, channels of a group, kernel)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @staticmethod
    def to_matrix(weight: Tensor) -> Tensor:
        """[out, kernel * channels of a group]: channels innermost."""
        return weight.movedim(1, -1).reshape(weight.shape[0], -1)

    def _from_matrix(self, matrix: Tensor) -> Tensor:
        """[out, channels of a group, kernel], with torch's own strides, those of a 1 x 1 kernel too.

        By others torch takes images for channels last, and its kernels for that crash on some of one pixel.
        """
        out, inner, *kernel = self.dense_size
        return matrix.view(out, *kernel, inner).movedim(-1, 1).flatten().view(self.dense_size)

    def images(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width]; a batch of one where there is none, and one row where images are lines.

        Raises:
            ShapeError: other channels, or too many dimensions or too few.
        """
        dims = len(self.kernel_size)
        if x.ndim not in (dims + 1, dims + 2) or x.shape[-dims - 1] != self.in_channels:
            sides = ("length",) if dims == 1 else ("height", "width")
            one = f"{self.in_channels}, {', '.join(sides)}]"
            expected, got = f"x [batch, {one} or [{one}", f"{tuple(x.shape)}"
            raise ShapeError(self.title, expected=expected, got=got)
        return self._as_images(x)

    def _as_images(self, x: Tensor) -> Tensor:
        """[batch, any channels, height, width]."""
        dims = len(self.kernel_size)
        x = x if x.ndim == dims + 2 else x.unsqueeze(0)
        return x.unsqueeze(-2) if dims == 1 else x

    def _as_given(self, y: Tensor, x: Tensor) -> Tensor:
        """The output with the dimensions that the input has."""
        y = y.squeeze(-2) if len(self.kernel_size) == 1 else y
        return y if y.ndim == x.ndim else y.squeeze(0)

    def gradient_tile(self, rows: slice, cols: slice) -> Tensor:
        """A part of the dense gradient, summed over the recorded passes; never more than this part."""
        grid, place, dtype = self.grid, self.weights.device, self.weights.dtype
        out = torch.arange(self.shape[0], device=place).view(grid.rows, grid.h)[rows].flatten()
        columns = torch.arange(self.shape[1], device=place).view(grid.cols, grid.w)[cols].flatten()
        total = torch.zeros(out.numel(), columns.numel(), device=place, dtype=dtype)
        g = self.geometry
        for x, dy in self.tape.pairs:
            read = padded(self.images(x.to(dtype)), g.padding, g.mode)
            add_gradient_tile(total, read, self._as_images(dy.to(dtype)), out, columns, g)
        return total.cpu()

    def extra_repr(self) -> str:
        """Channels, kernel, what differs from torch's defaults, and what every sparse layer says."""
        around = {"stride": 1, "padding": 0, "dilation": 1}
        said = [f"{self.in_channels} -> {self.out_channels}, kernel_size={self.kernel_size}"]
        for name, usual in around.items():
            value = getattr(self, name)
            said += [f"{name}={value}"] if value not in ((usual,) * len(self.kernel_size), "valid") else []
        said += [f"groups={self.groups}"] if self.groups > 1 else []
        said += [f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []
        return ", ".join([*said, super().extra_repr().partition(", ")[2]])


class _Packed(_Conv, Packed):
    """A truly sparse convolution."""

    def compute(self, x: Tensor) -> Tensor:
        """[batch, channels, size] to [batch, out, size']; or the same without a batch."""
        pattern, dims = self.pattern, self.pattern.dims(self.shape)
        y = ops.conv(
            self.images(x), self.values, self.operands(), self.bias, pattern.layout, dims, self.geometry
        )
        return self._as_given(y, x)

    def transposed_bytes(self, batch: int) -> int:
        """0: input gradients of convolutions keep nothing beside the index."""
        return 0

    def explain(self, training: bool = False) -> str:
        """Why its products run as they do.

        Args:
            training: bool - explain a training step: all three products.
        Returns:
            Lines ``name: reason``, one a way, under the name of each product.
        """
        names = ("conv", "conv_grad_input", "conv_grad_values")[: None if training else 1]
        about = (self.pattern.layout, self.values.dtype, self.values.device.type)
        texts = {name: ops.explain(name, *about).splitlines() for name in names}
        return "\n".join(line for name, lines in texts.items() for line in (name, *(f"  {t}" for t in lines)))


class _Masked(_Conv, Masked):
    """A convolution with a dense weight times a mask."""

    def compute(self, x: Tensor) -> Tensor:
        """[batch, channels, size] to [batch, out, size']; or the same without a batch."""
        weight, images = self.effective_weight(), self.images(x)
        self.geometry.out_size(*images.shape[2:])  # refuses small planes, as the packed home does
        weight = weight.unsqueeze(-2) if len(self.kernel_size) == 1 else weight
        return self._as_given(dense_conv(images, weight, self.bias, self.geometry), x)


class SparseConv2d(_Packed):
    """A truly sparse convolution: memory, arithmetic and gradient only for connections that exist.

    The weight is seen as a matrix ``[out, kh * kw * in / groups]``, channels innermost, so that N:M and blocks run
    along the channels of one tap.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as for
            torch.nn.Conv2d. The bias is dense; an ablated channel outputs it.
        density: float in (0, 1] - share of connections.
        pattern: Pattern, or its short name such as "fanin:4" - FanIn() by default.
        generator: torch.Generator or None - draws topology and values.
        fan_in: "sparse" or "dense" - which fan-in the initial values are scaled for.
        law: str - of the initial values: "he_normal", "he_uniform", "xavier_uniform", "normal" (see draw_values).
        device, dtype: as for torch.nn.Conv2d.

    Cost: 2 * connections * positions * batch operations forward, twice that backward; memory O(connections), and a
        padded copy of the input where ``padding_mode`` is not zeros.
    Example:
        >>> layer = SparseConv2d(8, 4, 3, padding=1, density=0.5)
        >>> layer(torch.ones(1, 8, 5, 5)).shape, layer.connections, layer.weight.shape
        (torch.Size([1, 4, 5, 5]), 144, torch.Size([4, 8, 3, 3]))
    """

    dense = nn.Conv2d


class SparseConv1d(_Packed):
    """A truly sparse convolution over lines.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as for
            torch.nn.Conv1d.
        density, pattern, generator, fan_in, law, device, dtype: see SparseConv2d.
    Cost: that of SparseConv2d on images of one row.
    Example:
        >>> SparseConv1d(8, 4, 3, density=0.5)(torch.ones(1, 8, 5)).shape
        torch.Size([1, 4, 3])
    """

    dense = nn.Conv1d


class MaskedConv2d(_Masked):
    """The same layer as a dense weight times a mask: the oracle, and the home for devices without a sparse kernel.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as for
            torch.nn.Conv2d.
        density, pattern, generator, fan_in, law, device, dtype: see SparseConv2d.
    Cost: that of torch.nn.Conv2d plus one product with the mask; no memory is saved.
    Example:
        >>> layer = MaskedConv2d(8, 4, 3, density=0.5)
        >>> layer(torch.ones(1, 8, 5, 5)).shape, layer.connections
        (torch.Size([1, 4, 3, 3]), 144)
    """

    dense = nn.Conv2d


class MaskedConv1d(_Masked):
    """The same over lines.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as for
            torch.nn.Conv1d.
        density, pattern, generator, fan_in, law, device, dtype: see SparseConv2d.
    Cost: that of torch.nn.Conv1d plus one product with the mask.
    Example:
        >>> int(MaskedConv1d(8, 4, 3, density=0.5).mask.sum())
        48
    """

    dense = nn.Conv1d


def _row(name: str, masked: type[_Masked], packed: type[_Packed]) -> Kind:
    """Of the table of kinds."""
    return Kind(
        name,
        dense=(packed.dense,),
        masked=masked,
        packed=packed,
        example=lambda: packed.dense(1, 1, 1),
        left=left_dense,
        fits=lambda conv, pattern: check_taps(pattern, geometry_of(conv), conv.out_channels),
        rows=rows_of_images,
    )


kind(_row("conv2d", MaskedConv2d, SparseConv2d))
kind(_row("conv1d", MaskedConv1d, SparseConv1d))
