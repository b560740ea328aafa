"""A layer that had a stride, and what does the rest of its work now."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gossamer.nn.polyphase import AdaptivePolyphaseDownsample


class Unstrided(nn.Sequential):
    """A layer at stride 1, perhaps behind a border, before or behind what keeps fewer pixels.

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
