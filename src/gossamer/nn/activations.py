"""Activations of sparse networks."""

from __future__ import annotations

from math import isfinite

from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import ConfigError


class AllReLU(nn.Module):
    """Alternated left ReLU: a leaky ReLU whose slope for negative numbers changes its sign from layer to layer.

    Even layers bend the negative side up (slope -alpha), odd ones are leaky (+alpha). The derivative comes from the
    input, since an output of a bent-up layer does not say which side it is from.

    Args:
        alpha: float >= 0 - size of the slope, fixed; 0 is ReLU.
        layer: int >= 2 - number of the layer, counted from the input layer as 1; the first hidden one is 2.
    Cost: that of a leaky ReLU; freezing makes it part of the layer before it.
    Source: Curci, Mocanu, Pechenizkiy 2021, "Truly Sparse Neural Networks at Scale".
    Example:
        >>> import torch
        >>> x = torch.tensor([-1.0, 2.0])
        >>> AllReLU(0.5, layer=2)(x).tolist(), AllReLU(0.5, layer=3)(x).tolist()
        ([0.5, 2.0], [-0.5, 2.0])
    """

    def __init__(self, alpha: float, layer: int = 2) -> None:
        super().__init__()
        if not (isfinite(alpha) and alpha >= 0 and layer >= 2):
            raise ConfigError(
                "AllReLU",
                expected="a finite alpha >= 0 and a hidden layer, numbered from 2",
                got=f"alpha={alpha}, layer={layer}",
            )
        self.alpha, self.layer = float(alpha), layer

    @property
    def negative_slope(self) -> float:
        """What negative numbers are multiplied by."""
        return self.alpha if self.layer % 2 else -self.alpha

    def forward(self, x: Tensor) -> Tensor:
        """The input where it is positive, else slope times it."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """Both numbers."""
        return f"{self.alpha}, layer={self.layer}"


def all_relus(alpha: float, hidden: int) -> list[AllReLU]:
    """The activations of a network: one for each hidden layer, slopes alternating from -alpha.

    Args:
        alpha: float >= 0 - as of AllReLU.
        hidden: int - hidden layers.
    Returns:
        list of AllReLU.
    Raises:
        ConfigError: alpha is negative or not finite.
    Cost: O(hidden).
    Source: as AllReLU.
    Example:
        >>> [activation.negative_slope for activation in all_relus(0.6, 3)]
        [-0.6, 0.6, -0.6]
    """
    return [AllReLU(alpha, layer) for layer in range(2, hidden + 2)]
