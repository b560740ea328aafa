"""What quantizing did to each layer, ready for eyes and for JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class QuantizedLayer:
    """One layer. Ratios of signal and noise are in decibels: 10 log10 (sum of squares / sum of squared errors).

    Args:
        name: str.
        values: str - the type of its weights, "exact" where it stays as it was.
        low, high: float - the range of its inputs, None where they are not rounded.
        inputs: float - of its inputs; None: exact.
        weights: float - of its weights; None: exact.
        outputs: float - of its outputs, inputs and weights both rounded; None: exact.
        why: str - why it stays as it was, or "".
    """

    name: str
    values: str
    low: float | None
    high: float | None
    inputs: float | None
    weights: float | None
    outputs: float | None
    why: str = ""


@dataclass(frozen=True)
class QuantizationReport:
    """Every layer, in order.

    Args:
        layers: tuple of QuantizedLayer.
        ranges: str - how the ranges of inputs were found, "" where none were.

    Example:
        >>> print(QuantizationReport((QuantizedLayer("fc", "int8", 0.0, 2.5, 45.0, 42.1, 40.3),), "mse"))
        layer         values     inputs from        to     inputs    weights    outputs (dB)
        fc            int8                 0       2.5       45.0       42.1       40.3
        ranges of inputs by mse
    """

    layers: tuple[QuantizedLayer, ...]
    ranges: str

    @property
    def values(self) -> dict[str, str]:
        """Layer -> type of values, as ``freeze(values=)`` takes them for the model that was quantized."""
        return {f"{row.name}.layer": row.values for row in self.layers if not row.why}

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"ranges": self.ranges, "layers": [asdict(row) for row in self.layers]}

    def __str__(self) -> str:
        width = max([12, *(len(row.name) for row in self.layers)])
        bounds, ratios = (
            f"{'inputs from':>13}{'to':>10}",
            f"{'inputs':>11}{'weights':>11}{'outputs':>11} (dB)",
        )
        lines = [f"{'layer':<{width}}  {'values':<9}{bounds}{ratios}"]
        lines += [_line(row, width) for row in self.layers]
        return "\n".join([*lines, f"ranges of inputs by {self.ranges}"] if self.ranges else lines)


def _line(row: QuantizedLayer, width: int) -> str:
    bounds = "".join(_number(bound, size, ".4g") for bound, size in ((row.low, 13), (row.high, 10)))
    ratios = "".join(_number(each, 11, ".1f") for each in (row.inputs, row.weights, row.outputs))
    return f"{row.name:<{width}}  {row.values:<9}{bounds}{ratios}{'  ' + row.why if row.why else ''}"


def _number(value: float | None, size: int, how: str) -> str:
    return f"{'-' if value is None else format(value, how):>{size}}"


def decibels(signal: float, noise: float) -> float | None:
    """The ratio of two sums of squares; None where there is no noise.

    Example:
        >>> decibels(100.0, 1.0), decibels(1.0, 0.0), decibels(0.0, 1.0)
        (20.0, None, -400.0)
    """
    if noise == 0:
        return None
    return max(-400.0, 10 * math.log10(signal / noise)) if signal > 0 else -400.0
