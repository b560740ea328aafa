"""Which layers take no part in an update, because they did not train in the step before it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from torch.optim import Optimizer

from gossamer.errors import TrainingWarning
from gossamer.nn import SparseModule

PATIENCE = 10  # updates in a row at which a layer rests before that is said
FROZEN, FOREIGN, UNUSED = "frozen", "not in the optimizer", "no gradient in this step"


def at_rest(
    layers: Mapping[str, SparseModule], optimizer: Optimizer, graded: AbstractSet[int], by_gradient: bool
) -> dict[str, str]:
    """Layers that did not train in a step, and why.

    Args:
        layers: name -> SparseModule.
        optimizer: Optimizer - that made the step.
        graded: ids of parameters that had a gradient.
        by_gradient: bool - growth needs a recorded pass.
    Returns:
        name -> reason.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    found = {}
    for name, layer in layers.items():
        if not layer.weights.requires_grad:
            found[name] = FROZEN
        elif id(layer.weights) not in held:
            found[name] = FOREIGN
        elif id(layer.weights) not in graded or not _used(layer, by_gradient):
            found[name] = UNUSED
    return found


def _used(layer: SparseModule, by_gradient: bool) -> bool:
    """Whether a pass went through the layer: its gradient may be the zeros that ``zero_grad`` left."""
    gradient, tape = layer.weights.grad, layer.tape
    if gradient is None:  # the optimizer has cleared it
        return bool(tape.pairs) or not by_gradient
    if by_gradient:
        return bool(tape.pairs) and not tape.thrown_away(gradient)
    return tape.reached(gradient) or bool(
        gradient.any()
    )  # without a pass: averaged, or sent by another process


class Rests:
    """Counts updates in a row at which layers rested, and warns once of each that nobody froze."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, layers: Mapping[str, SparseModule], resting: Mapping[str, str]) -> None:
        """One more update has passed."""
        for name in layers:
            reason = resting.get(name, FROZEN)
            self._counts[name] = 0 if reason == FROZEN else self._counts[name] + 1
            if self._counts[name] == PATIENCE:
                warnings.warn(
                    f"the topology of {name} has rested at {PATIENCE} updates in a row: {reason}; "
                    "see engine.resting, or leave the layer out with attach(fixed=[...])",
                    TrainingWarning,
                    stacklevel=2,
                )
