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

BATCHES: Final = (1, 4, 16, 64, 256)  # at which the constants were measured; linear in between and beyond

# Nanoseconds of one thread by batch: of a weight of the dense product, of a connection of a layout's own kernel, and of
# moving a value into a dense weight or out of it. Measured: benchmarks/dense_crossover.py.
DENSE: Final[Mapping[str, Sequence[float]]] = {
    "linear": (0.0906, 0.37, 0.501, 1.57, 5.58),
    "linear_grad_input": (0.0926, 0.292, 0.577, 2.07, 5.96),
    "linear_grad_values": (0.112, 0.656, 0.497, 1.46, 5.63),
}
SPARSE: Final[Mapping[str, Mapping[str, Sequence[float]]]] = {
    "csr": {
        "linear": (0.34, 0.565, 0.919, 2.79, 11.0),
        "linear_grad_input": (0.93, 0.92, 1.43, 3.1, 9.29),
        "linear_grad_values": (0.789, 0.796, 1.09, 3.09, 11.9),
    },
    "fanin:4": {
        "linear": (0.201, 0.315, 0.433, 1.69, 6.75),
        "linear_grad_input": (0.346, 0.385, 0.484, 1.84, 7.32),
        "linear_grad_values": (0.703, 0.721, 0.904, 3.23, 13.0),
    },
    "fanin:8": {
        "linear": (0.106, 0.296, 0.485, 1.97, 7.98),
        "linear_grad_input": (0.319, 0.365, 0.594, 2.34, 9.6),
        "linear_grad_values": (0.681, 0.704, 1.18, 4.46, 17.8),
    },
    "nm:1": {
        "linear": (0.489, 0.726, 0.882, 2.45, 9.79),
        "linear_grad_input": (0.859, 0.996, 1.5, 3.63, 10.3),
        "linear_grad_values": (0.844, 0.898, 1.08, 3.28, 12.0),
    },
    "nm:2": {
        "linear": (1.47, 1.74, 1.93, 3.19, 12.8),
        "linear_grad_input": (2.09, 2.22, 2.57, 3.37, 10.0),
        "linear_grad_values": (2.03, 2.14, 2.17, 3.8, 15.3),
    },
    "block:4": {
        "linear": (0.144, 0.34, 0.443, 1.72, 7.41),
        "linear_grad_input": (0.34, 0.343, 0.493, 1.99, 8.29),
        "linear_grad_values": (1.06, 1.04, 1.23, 2.52, 10.5),
    },
    "block:16": {
        "linear": (0.109, 0.398, 0.474, 1.69, 7.56),
        "linear_grad_input": (0.39, 0.381, 0.51, 1.92, 8.4),
        "linear_grad_values": (0.858, 0.858, 1.06, 2.42, 9.7),
    },
}
MOVE: Final[Mapping[str, tuple[float, float]]] = {
    "csr": (0.833, 0.77),
    "fanin:4": (0.503, 0.518),
    "fanin:8": (0.588, 0.531),
    "nm:1": (0.726, 0.846),
    "nm:2": (1.68, 1.87),
    "block:4": (0.829, 0.834),
    "block:16": (0.291, 0.366),
}
CALL: Final = (5.0, 22.44)  # microseconds of a call that has nothing to do, sparse and dense


@dataclass(frozen=True)
class Estimate:
    """Microseconds of one product, and which way it goes.

    Args:
        sparse: float - by the layout's own kernel.
        dense: float - on a dense weight that is there, gathering the gradient of the values included.
        scatter: float - of writing the values into the dense weight first; 0 where that is not due.
        pays: bool - whether the product goes through the dense weight.
    """

    sparse: float
    dense: float
    scatter: float
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
        training: whether the values change before the next product of this kind, so that a dense weight is written anew.

    Returns:
        Operation -> Estimate. A function of its arguments alone: it knows no history and no clock.

    Example:
        >>> estimates("csr", (512, 512), 26_000, 64, True)["linear"].pays
        False
    """
    kind, weights = kind_of(layout, shape), shape[0] * shape[1]
    scatter, gather = (constant * connections / 1e3 for constant in MOVE[kind])
    sparse = {op: CALL[0] + _at(SPARSE[kind][op], batch) * connections / 1e3 for op in DENSE}
    dense = {op: CALL[1] + _at(DENSE[op], batch) * weights / 1e3 for op in DENSE}
    dense["linear_grad_values"] += gather
    due = scatter if training else 0.0
    pays = {op: dense[op] + (0.0 if op == "linear_grad_values" else due) < sparse[op] for op in DENSE}
    if training:  # one scatter serves both
        pays.update(_together(sparse, dense, scatter))
    allowed = connections >= FLOOR * weights > 0
    return {
        op: Estimate(
            sparse[op], dense[op], 0.0 if op == "linear_grad_values" else due, allowed and pays[op]
        )
        for op in DENSE
    }


def _together(sparse: Mapping[str, float], dense: Mapping[str, float], scatter: float) -> dict[str, bool]:
    """The fastest pair of ways for forward and input gradient of one training step."""
    ops = ("linear", "linear_grad_input")

    def cost(ways: tuple[bool, ...]) -> float:
        times = (dense[op] if way else sparse[op] for op, way in zip(ops, ways, strict=True))
        return sum(times) + scatter * any(ways)

    best = min(product((False, True), repeat=len(ops)), key=cost)
    return dict(zip(ops, best, strict=True))
