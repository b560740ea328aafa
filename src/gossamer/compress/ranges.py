"""Between which numbers the inputs of a layer lie, for rounding them to eight bits: three ways, from a histogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from gossamer.layouts.arrays import Array

BINS: Final = 2048
SHARE: Final = 0.999  # of inputs that a percentile keeps
STEPS: Final = 255
TRIED: Final = 100  # ranges that are compared by their mean square error

Range = tuple[float, float]


def minmax(counts: Array, low: float, high: float) -> Range:
    """All inputs.

    Example:
        >>> minmax(np.array([1, 1]), -1.0, 3.0)
        (-1.0, 3.0)
    """
    del counts
    return min(low, 0.0), max(high, 0.0)


def percentile(counts: Array, low: float, high: float) -> Range:
    """All but the largest thousandth, and all but the smallest where inputs are negative; to a bin.

    Example:
        >>> percentile(np.array([9990, 5, 5, 0]), 0.0, 4.0)
        (0.0, 1.0)
    """
    edges = np.linspace(low, high, counts.size + 1)
    below, total = counts.cumsum(), counts.sum()
    last = int((below < SHARE * total).sum())
    first = int((below <= (1 - SHARE) * total).sum())
    return min(float(edges[min(first, counts.size)]), 0.0), max(float(edges[min(last + 1, counts.size)]), 0.0)


def mse(counts: Array, low: float, high: float) -> Range:
    """Of a hundred ranges, each a share of the whole, that with the smallest mean square error of rounded inputs.

    Example:
        >>> counts = np.zeros(1000, int)
        >>> counts[:200], counts[-1] = 10**6, 1
        >>> [round(bound, 2) for bound in mse(counts, 0.0, 10.0)]
        [0.0, 2.0]
    """
    low, high = minmax(counts, low, high)[0], max(high, 0.0)
    edges = np.linspace(low, high, counts.size + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    shares = np.linspace(1, 0, TRIED, endpoint=False).tolist()
    tried = [(low * share, high * share) for share in shares]
    return min(tried, key=lambda each: _error(middles, counts, *each))


def _error(inputs: Array, counts: Array, low: float, high: float) -> float:
    """The sum of square errors of numbers that come so often, rounded as ``InputRounding`` does."""
    step = (high - low) / STEPS or 1.0
    first = -round(-low / step)
    rounded = np.rint(inputs / step).clip(first, first + STEPS) * step
    return float(((rounded - inputs) ** 2 * counts).sum())


RANGES: Final[dict[str, Callable[[Array, float, float], Range]]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}
