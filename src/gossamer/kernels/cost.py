"""What a product costs by a layout's own kernel and on a dense weight: measured constants, and the choice they make."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

from gossamer.layouts import layout as of_name

# Share of connections below which a dense weight is never made: it takes 4 / density bytes a connection in float32.
FLOOR: Final = 0.4

# How many times faster a dense product must be estimated to be: it costs memory, and estimates are off by some tenth.
MARGIN: Final = 1.1

BATCHES: Final = (1, 4, 16, 64, 256)  # at which the constants were measured; linear in between and beyond

# Nanoseconds of one thread by batch, of a weight of the dense product; those of a connection are in the layouts.
# Measured: benchmarks/dense_crossover.py.
DENSE: Final[Mapping[str, Sequence[float]]] = {
    "linear": (0.0902, 0.369, 0.523, 1.65, 5.58),
    "linear_grad_input": (0.0922, 0.289, 0.59, 2.13, 6.12),
    "linear_grad_values": (0.112, 0.656, 0.608, 1.57, 5.68),
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
    kind, weights = of_name(layout), shape[0] * shape[1]
    rates = kind.rated(kind.integers(shape)[1])
    scatter, gather = (constant * connections / 1e3 for constant in rates.move)
    due = scatter if training else CHECK * connections / 1e3
    sparse = {op: CALL[0] + _at(getattr(rates, op), batch) * connections / 1e3 for op in DENSE}
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
