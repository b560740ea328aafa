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
DENSE: Final[Mapping[str, Sequence[float]]] = {}
SPARSE: Final[Mapping[str, Mapping[str, Sequence[float]]]] = {}
MOVE: Final[Mapping[str, tuple[float, float]]] = {}
CALL: Final = (0.0, 0.0)  # microseconds of a call that has nothing to do, sparse and dense


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
