"""A layer that had a stride, and what does the rest of its work now."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gossamer.errors import ShapeError
from gossamer.nn.polyphase import AdaptivePolyphaseDownsample
from gossamer.nn.traced import is_traced


class SameSize(nn.Module):
    """Refuses images of another size than the one for which what follows holds; gives all others as they are.

    Args:
        height, width: int - in pixels.

    Cost: none; a trace leaves it out.

    Example:
        >>> import torch
        >>> SameSize(2, 2)(torch.ones(1, 1, 2, 2)).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.sides = height, width

    def forward(self, x: Tensor) -> Tensor:
        """[..., height, width] as it is; raises ShapeError."""
        if not is_traced(x) and tuple(x.shape[-2:]) != self.sides:
            raise ShapeError(
                "a pool over the whole image",
                expected=f"{self.sides[0]} x {self.sides[1]} pixels, as of the example of make_shift_invariant",
                got=" x ".join(map(str, x.shape[-2:])),
                hint="use nn.AdaptiveAvgPool2d(1) in the model before, which pools images of all sizes",
            )
        return x

    def extra_repr(self) -> str:
        """Its sides."""
        return f"{self.sides[0]}, {self.sides[1]}"


class Unstrided(nn.Sequential):
    """A layer at stride 1, perhaps behind a border or a check of sizes, before or behind what keeps fewer pixels.

    A sampler that chooses for other branches judges what the layer reads together with what it gives. The phases of its
    output may all be alike, as of a layer of zeros or of a pool as large as its image, where those of another branch
    differ.

    Attributes of the layer, as ``weight`` or ``out_channels``, are found here as well: code of a model reads them.

    Args:
        steps: modules by name in the order in which they run; the layer is ``layer``, a sampler is ``downsample``.

    Cost: that of the steps; where one chooses for others, a copy of input and output of the layer.

    Example:
        >>> from collections import OrderedDict
        >>> Unstrided(OrderedDict(layer=nn.Conv2d(3, 8, 1))).out_channels
        8
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[batch, channels, height, width] to what the last step gives."""
        x = input
        for step in self:
            judges = isinstance(step, AdaptivePolyphaseDownsample) and step.chooses_for_others
            x = step(x, beside=input) if judges else step(x)
        return x

    def __getattr__(self, name: str) -> Any:
        """What torch holds for a module, or else an attribute of the layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = vars(self).get("_modules", {}).get("layer")
            if layer is None or name.startswith("_"):
                raise
            return getattr(layer, name)
