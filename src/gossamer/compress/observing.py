"""What flows through the layers of a model while it runs on a calibration set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.compress.batches import inputs_of
from gossamer.compress.ranges import BINS, RANGES
from gossamer.errors import GossamerError, NonFiniteError, StateError
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
            raise NonFiniteError("quantize", expected="finite inputs", got="NaN or infinity")
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
    watched(model, batches, layers, lambda name, x, _y: found[name].bound(x))
    if missed := [name for name, each in found.items() if each.low > each.high]:
        raise StateError(
            f"quantize {', '.join(missed)}",
            expected="layers that the model calls on these batches",
            got="no call with a sample",
            hint="leave them out with skip=, or give batches that reach them",
        )
    watched(model, batches, layers, lambda name, x, _y: found[name].count(x))
    return found


def watched(
    model: nn.Module, batches: list[Any], layers: Layers, look: Callable[[str, Tensor, Tensor], None]
) -> None:
    """Run a model in evaluation and have ``look`` told of every input and output of these layers."""
    modes = {module: module.training for module in model.modules()}
    busy: list[str] = []

    def after(name: str, _layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not busy:  # looking may call the layer itself
            busy.append(name)
            try:
                look(name, inputs[0].detach(), output.detach())
            except GossamerError as error:
                raise error.within(f"quantize {name}") from None
            finally:
                busy.pop()

    handles = [layer.register_forward_hook(partial(after, name)) for name, layer in layers.items()]
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                model(inputs_of(batch))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
