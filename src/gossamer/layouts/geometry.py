"""What a convolution is beside its weight: kernel, stride, border, dilation, groups. NumPy is not needed for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gossamer.errors import ConfigError, ShapeError

MODES: Final = ("zeros", "circular", "reflect", "replicate")
LARGEST: Final = (1 << 31) - 1  # pixels
Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """A convolution over [batch, channels, height, width]; a one-dimensional one has height 1 and kernel (1, k).

    Its weight is the matrix [out, kh * kw * (channels // groups)]: column ``(ky * kw + kx) * (channels // groups) + c``
    reads channel c of the row's group at ``(ky, kx)``. Row o reads the channels of group ``o // (out // groups)``.

    Args:
        channels: int >= 1 - of the input.
        kernel: (height, width), each >= 1.
        stride: (height, width), each >= 1, in pixels.
        padding: (left, right, top, bottom), each >= 0, in pixels: the order of torch's ``F.pad``.
        dilation: (height, width), each >= 1, in pixels.
        groups: int - divides channels.
        mode: what the border holds - "zeros", "circular", "reflect" or "replicate".

    Raises:
        ConfigError: a number outside its range or above 2^31 - 1, groups that do not divide the channels, another mode.

    Example:
        >>> stem = Geometry(3, (7, 7), stride=(2, 2), padding=(3, 3, 3, 3))
        >>> stem.columns, stem.out_size(224, 224)
        (147, (112, 112))
    """

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    mode: str = "zeros"

    def __post_init__(self) -> None:
        for name, length, least in (
            ("kernel", 2, 1),
            ("stride", 2, 1),
            ("padding", 4, 0),
            ("dilation", 2, 1),
        ):
            given = getattr(self, name)
            if len(given) != length or any(not least <= number <= LARGEST for number in given):
                expected = f"{name} of {length} numbers from {least} to {LARGEST}"
                raise ConfigError("Geometry", expected=expected, got=f"{given}")
        if self.channels < 1 or self.groups < 1 or self.channels % self.groups:
            got = f"{self.channels} channels, {self.groups} groups"
            raise ConfigError("Geometry", expected="channels >= 1 that groups >= 1 divide", got=got)
        if self.mode not in MODES:
            raise ConfigError("Geometry", expected=f"a mode of {', '.join(MODES)}", got=repr(self.mode))

    @property
    def columns(self) -> int:
        """Columns of the weight's matrix."""
        return self.kernel[0] * self.kernel[1] * self.channels // self.groups

    @property
    def pointwise(self) -> bool:
        """Whether an output pixel reads the pixel at its own place alone."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and not any(self.padding)

    @property
    def unpadded(self) -> Geometry:
        """The same for images that have their border already."""
        return replace(self, padding=(0, 0, 0, 0), mode="zeros")

    def out_size(self, height: int, width: int) -> Pair:
        """Height and width of the output.

        Args:
            height: int >= 1 - of the input, in pixels.
            width: int >= 1 - of the input, in pixels.

        Raises:
            ShapeError: no pixel, a kernel larger than the input with its border, or a border that the mode cannot fill.

        Example:
            >>> Geometry(1, (3, 3), padding=(1, 1, 0, 0)).out_size(4, 4)
            (2, 4)
        """
        (high, wide), (down, along) = self._steps(height, width), self.stride
        return high // down + 1, wide // along + 1

    def within(self, height: int, width: int) -> Geometry:
        """The same convolution of images of one size, with strides that stay inside of them.

        Whoever stores pixels a stride apart in planes of their own needs no planes for pixels that are not there.

        Args:
            height: int >= 1 - of the input, in pixels.
            width: int >= 1 - of the input, in pixels.

        Raises:
            ShapeError: as ``out_size``.

        Example:
            >>> Geometry(1, (3, 3), stride=(100, 2)).within(8, 8).stride
            (6, 2)
        """
        (high, wide), (down, along) = self._steps(height, width), self.stride
        return replace(self, stride=(min(down, high + 1), min(along, wide + 1)))

    def _steps(self, height: int, width: int) -> Pair:
        """How far the kernel can move over the input with its border, in pixels; raises ShapeError as ``out_size``."""
        left, right, top, bottom = self.padding
        largest = {"circular": 0, "reflect": -1}.get(self.mode)  # beyond the size itself
        for size, borders in ((height, (top, bottom)), (width, (left, right))):
            if size < 1 or (largest is not None and max(borders) > size + largest):
                expected = f"an input that a {self.mode} border of {max(borders)} fits"
                raise ShapeError("convolution", expected=expected, got=f"{height} x {width} pixels")
        padded = (height + top + bottom, width + left + right)
        reach = tuple([d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)])
        if reach[0] > padded[0] or reach[1] > padded[1]:
            got = f"{padded[0]} x {padded[1]} pixels with the border"
            raise ShapeError("convolution", expected=f"at least {reach[0]} x {reach[1]} pixels", got=got)
        return padded[0] - reach[0], padded[1] - reach[1]
