"""What a product costs by a layout's own kernel and on a dense weight: measured constants, and the choice they make."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

# Share of connections below which a dense weight is never made: it takes 4 / density bytes a connection in float32.
FLOOR: Final = 0.4

# How many times faster a dense product must be estimated to be: it costs memory, and estimates are off by some tenth.
MARGIN: Final = 1.1

BATCHES: Final = (1, 4, 16, 64, 256)  # at which the constants were measured; linear in between and beyond

# Nanoseconds of one thread by batch: of a weight of the dense product, of a connection of a layout's own kernel, and of
# moving a value into a dense weight or out of it. Measured: benchmarks/dense_crossover.py.
DENSE: Final[Mapping[str, Sequence[float]]] = {
    "linear": (0.0902, 0.369, 0.523, 1.65, 5.58),
    "linear_grad_input": (0.0922, 0.289, 0.59, 2.13, 6.12),
    "linear_grad_values": (0.112, 0.656, 0.608, 1.57, 5.68),
}
SPARSE: Final[Mapping[str, Mapping[str, Sequence[float]]]] = {
    "csr": {
        "linear": (0.34, 0.566, 1.03, 2.97, 11.7),
        "linear_grad_input": (0.93, 0.92, 1.45, 3.14, 9.37),
        "linear_grad_values": (0.79, 0.797, 1.18, 3.31, 12.6),
    },
    "fanin:4": {
        "linear": (0.201, 0.315, 0.445, 1.7, 6.98),
        "linear_grad_input": (0.346, 0.385, 0.485, 1.89, 7.46),
        "linear_grad_values": (0.704, 0.721, 0.972, 3.31, 13.2),
    },
    "fanin:8": {
        "linear": (0.106, 0.297, 0.491, 2.02, 8.1),
        "linear_grad_input": (0.319, 0.366, 0.601, 2.4, 9.81),
        "linear_grad_values": (0.681, 0.704, 1.22, 4.56, 17.9),
    },
    "nm:1": {
        "linear": (0.49, 0.726, 0.888, 2.45, 9.83),
        "linear_grad_input": (0.859, 0.997, 1.54, 3.73, 10.5),
        "linear_grad_values": (0.844, 0.898, 1.08, 3.43, 12.0),
    },
    "nm:2": {
        "linear": (1.47, 1.74, 1.99, 3.2, 13.2),
        "linear_grad_input": (2.09, 2.22, 2.61, 3.52, 10.2),
        "linear_grad_values": (2.03, 2.14, 2.32, 3.92, 15.4),
    },
    "block:4": {
        "linear": (0.144, 0.34, 0.473, 1.78, 7.5),
        "linear_grad_input": (0.34, 0.343, 0.502, 2.01, 8.38),
        "linear_grad_values": (1.06, 1.05, 1.39, 2.55, 10.7),
    },
    "block:16": {
        "linear": (0.109, 0.398, 0.497, 1.78, 8.41),
        "linear_grad_input": (0.391, 0.381, 0.533, 1.97, 9.25),
        "linear_grad_values": (0.859, 0.859, 1.08, 2.45, 9.79),
    },
}
MOVE: Final[Mapping[str, tuple[float, float]]] = {
    "csr": (0.84, 0.785),
    "fanin:4": (0.571, 0.53),
    "fanin:8": (0.601, 0.541),
    "nm:1": (0.781, 0.857),
    "nm:2": (1.68, 1.89),
    "block:4": (0.835, 0.866),
    "block:16": (0.304, 0.38),
}
CHECK: Final = 0.338  # nanoseconds of looking whether one value changed since it was written
CALL: Final = (4.96, 23.43)  # microseconds of a call that has nothing to do, sparse and dense


@dataclass(frozen=True)
class Estimate:
    """Microseconds of one product, and which way it goes.

    Args:
        sparse: float - by the layout's own kernel.
        dense: float - on a dense weight that is there, gathering the gradient of the values included.
        due: float - of bringing the dense weight up to date, which the forward product does: in training writing all
            values, else looking whether one changed.
        pays: bool - whether the product goes through the dense weight.
    """

    sparse: float
    dense: float
    due: float
    pays: bool


def kind_of(layout: str, shape: Sequence[int]) -> str:
    """The row of the constants for a layout; layouts that cost the same share one.

    Example:
        >>> kind_of("fanin", [8, 8, 1]), kind_of("nm", [8, 8, 2, 4]), kind_of("block", [8, 8, 4, 4])
        ('csr', 'nm:2', 'block:4')
    """
    if layout == "nm":
        return "nm:1" if shape[2] == 1 else "nm:2"
    if layout == "fanin" and shape[2] > 1:
        return "fanin:8" if shape[2] == 8 else "fanin:4"
    if layout == "block":
        return "block:16" if shape[2] * shape[3] >= 64 else "block:4"
    return "csr"


def _at(constants: Sequence[float], batch: int) -> float:
    """Linear between the measured batches, and along the last two beyond them."""
    right = min(max(1, bisect_left(BATCHES, batch)), len(BATCHES) - 1)
    low, high = BATCHES[right - 1], BATCHES[right]
    share = (batch - low) / (high - low)
    return constants[right - 1] + share * (constants[right] - constants[right - 1])


@lru_cache(maxsize=4096)
def estimates(
    layout: str, shape: tuple[int, ...], connections: int, batch: int, training: bool
) -> Mapping[str, Estimate]:
    """The products of a layer, estimated.

    Args:
        layout: a layout that trains.
        shape: the layout's integers.
        connections: stored values.
        batch: samples.
        training: whether the values change before the next forward product, so that a dense weight is written anew.

    Returns:
        Operation -> Estimate. A function of its arguments alone: it knows no history and no clock.

    Example:
        >>> estimates("csr", (512, 512), 26_000, 64, True)["linear"].pays
        False
    """
    kind, weights = kind_of(layout, shape), shape[0] * shape[1]
    scatter, gather = (constant * connections / 1e3 for constant in MOVE[kind])
    due = scatter if training else CHECK * connections / 1e3
    sparse = {op: CALL[0] + _at(SPARSE[kind][op], batch) * connections / 1e3 for op in DENSE}
    dense = {op: CALL[1] + _at(DENSE[op], batch) * weights / 1e3 for op in DENSE}
    dense["linear_grad_values"] += gather
    pays = {op: MARGIN * dense[op] < sparse[op] for op in DENSE}
    if training:
        pays.update(_together(sparse, dense, due))
    else:
        pays["linear"] = MARGIN * (dense["linear"] + due) < sparse["linear"]
    allowed = connections >= FLOOR * weights > 0
    return {
        op: Estimate(sparse[op], dense[op], due if op == "linear" else 0.0, allowed and pays[op])
        for op in DENSE
    }


def _together(sparse: Mapping[str, float], dense: Mapping[str, float], due: float) -> dict[str, bool]:
    """The fastest pair of ways for forward and input gradient of one training step: one weight serves both."""
    ops = ("linear", "linear_grad_input")

    def cost(ways: tuple[bool, ...]) -> float:
        times = (MARGIN * dense[op] if way else sparse[op] for op, way in zip(ops, ways, strict=True))
        return sum(times) + MARGIN * due * any(ways)

    best = min(product((False, True), repeat=len(ops)), key=cost)
    return dict(zip(ops, best, strict=True))
