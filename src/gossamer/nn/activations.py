"""Activations of sparse networks."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from gossamer import ops
from gossamer.bounds import LARGEST_SLOPE
from gossamer.errors import ConfigError
from gossamer.nn.traced import as_one_call, is_traced


class AllReLU(nn.Module):
    """Alternated left ReLU: a leaky ReLU whose slope for negative numbers changes its sign from layer to layer.

    Even layers bend the negative side up (slope -alpha), odd ones are leaky (+alpha). The derivative comes from the
    input, since an output of a bent-up layer does not say which side it is from.

    With ``dropout`` it does in training what a Dropout behind it would do, in the same pass over memory.

    Args:
        alpha: float >= 0 - size of the slope, fixed; 0 is ReLU.
        layer: int >= 2 - number of the layer, counted from the input layer as 1; the first hidden one is 2.
        dropout: float in [0, 1] - probability that a result becomes 0 in training; others are divided by 1 - dropout.
    Cost: that of a leaky ReLU; freezing makes it part of the layer before it.
    Source: Curci, Mocanu, Pechenizkiy 2021, "Truly Sparse Neural Networks at Scale".
    Example:
        >>> import torch
        >>> x = torch.tensor([-1.0, 2.0])
        >>> AllReLU(0.5, layer=2)(x).tolist(), AllReLU(0.5, layer=3)(x).tolist()
        ([0.5, 2.0], [-0.5, 2.0])
    """

    def __init__(self, alpha: float, layer: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        _check_probability("AllReLU", dropout)
        if not (0 <= alpha <= LARGEST_SLOPE and layer >= 2):
            raise ConfigError(
                "AllReLU",
                expected=f"alpha from 0 to {LARGEST_SLOPE:g} and a hidden layer, numbered from 2",
                got=f"alpha={alpha}, layer={layer}",
            )
        self.alpha, self.layer, self.dropout = float(alpha), layer, float(dropout)

    @property
    def negative_slope(self) -> float:
        """What negative numbers are multiplied by."""
        return self.alpha if self.layer % 2 else -self.alpha

    def forward(self, x: Tensor) -> Tensor:
        """The input where it is positive, else slope times it; then dropout, in training."""
        if is_traced(x):
            return as_one_call(self, x)
        if self.training and self.dropout:
            return ops.leaky_dropout(x, self.negative_slope, self.dropout)
        return self.bend(x)

    def bend(self, x: Tensor) -> Tensor:
        """What it gives without dropout."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"{self.alpha}, layer={self.layer}" + (f", dropout={self.dropout}" if self.dropout else "")


class Dropout(nn.Module):
    """``torch.nn.Dropout`` at the cost of its memory traffic: on a CPU, torch's spends most of its time on random bits.

    Args:
        p: float in [0, 1] - probability that a number becomes 0 in training; the others are divided by 1 - p.

    What is drawn follows ``torch.manual_seed``, whatever the number of threads, but is not what torch's module draws.
    While its attribute ``generator`` is set it draws from that one, and torch's global generator is left alone.

    Cost: one pass over memory each way, and a byte a number for backward; freezing drops it. See ops.leaky_dropout.
    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> Dropout(0.5)(torch.ones(8)).unique().tolist(), Dropout(0.5).eval()(torch.ones(2)).tolist()
        ([0.0, 2.0], [1.0, 1.0])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        _check_probability("Dropout", p)
        self.p = float(p)
        self.generator: Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The input in evaluation; in training some of it, scaled."""
        if is_traced(x):
            return as_one_call(self, x)
        return ops.leaky_dropout(x, 1.0, self.p, self.generator) if self.training and self.p else x

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ConfigError(name, expected="a dropout probability in [0, 1]", got=str(p))


def all_relus(alpha: float, hidden: int, dropout: float = 0.0) -> list[AllReLU]:
    """The activations of a network: one for each hidden layer, slopes alternating from -alpha.

    Args:
        alpha: float >= 0 - as of AllReLU.
        hidden: int - hidden layers.
        dropout: float in [0, 1] - as of AllReLU, for all of them.
    Returns:
        list of AllReLU.
    Raises:
        ConfigError: alpha is negative or not finite, or dropout no probability.
    Cost: O(hidden).
    Source: as AllReLU.
    Example:
        >>> [activation.negative_slope for activation in all_relus(0.6, 3)]
        [-0.6, 0.6, -0.6]
    """
    return [AllReLU(alpha, layer, dropout) for layer in range(2, hidden + 2)]
