"""What flows through the layers of a model while it runs on a calibration set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.compress.ranges import BINS, RANGES
from gossamer.compress.watching import refuse_unreached, watch_inputs
from gossamer.errors import NonFiniteError
from gossamer.layouts.arrays import Array

Layers = dict[str, nn.Module]


@dataclass
class Seen:
    """The inputs of one layer: bounds, then how many lie in each of equal parts between them."""

    low: float = np.inf
    high: float = -np.inf
    counts: Array | None = None

    def bound(self, x: Tensor) -> None:
        """Widen the bounds."""
        if not bool(torch.isfinite(x).all()):
            raise NonFiniteError("what flows in", expected="finite inputs", got="NaN or infinity")
        if x.numel():
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def count(self, x: Tensor) -> None:
        """Count inputs between the bounds."""
        made = np.histogram(x.cpu().numpy(), BINS, (self.low, self.high))[0]
        self.counts = made if self.counts is None else self.counts + made

    def range(self, how: str) -> tuple[float, float]:
        """By one of ``RANGES``."""
        if self.counts is None:
            raise AssertionError("inputs are counted before they are asked for")
        return RANGES[how](self.counts, self.low, self.high)


def seen_by(model: nn.Module, batches: list[Any], layers: Layers) -> dict[str, Seen]:
    """What flows into each layer; raises StateError for one that nothing reaches."""
    found = {name: Seen() for name in layers}
    for batch in batches:
        watch_inputs(model, batch, layers, lambda name, _, x: found[name].bound(x), "quantize")
    refuse_unreached("quantize", (name for name, each in found.items() if each.low > each.high))
    for batch in batches:
        watch_inputs(model, batch, layers, lambda name, _, x: found[name].count(x), "quantize")
    return found
