"""Growth by gradient: scoring and choosing against the bare dense product it needs, compiled and in torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import arguments, record, remembered

from gossamer.measure import threads
from gossamer.ops.growth import compiled_selector, growth_factors
from gossamer.patterns import Pattern, parse
from gossamer.topology import Selector, TileScores, TorchSelector

SHAPES = ((4096, 4096), (2048, 16384), (512, 100_000))  # outputs, inputs
PATTERNS = {"fanin": 0.05, "nm:1:8": 1 / 8, "nm:2:4": 1 / 2, "unstructured": 0.05}  # and their densities
DROP = 0.3


class Case:
    """One layer at an update: recorded inputs and output gradients, survivors, and how many to grow in each bucket."""

    def __init__(self, name: str, density: float, shape: tuple[int, int], batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pattern: Pattern = parse(name)
        self.grid = self.pattern.grid(shape)
        # Multiples of 1/32: every sum is exact, so that products that add up in another order have the same bits.
        self.x = torch.randn(batch, shape[1], generator=generator).relu_().mul_(32).round_().div_(32)
        self.dy = torch.randn(batch, shape[0], generator=generator).mul_(32).round_().div_(32)
        positions = self.pattern.sample(self.pattern.budget(density, shape), self.grid, generator)
        self.survivors = positions[torch.rand(positions.numel(), generator=generator) > DROP]
        self.want = self.pattern.count(positions, self.grid) - self.pattern.count(self.survivors, self.grid)

    def scores(self, selector: Selector | None) -> TileScores:
        """The layer's gradient, made as `SparseLinear` makes it: a matrix, or row by row inside of a compiled one."""
        if selector is None:
            return TileScores(self.grid, self.matrix, selector=TorchSelector())
        given = growth_factors([(self.x, self.dy)], self.grid)
        return TileScores(self.grid, self.matrix, selector=selector, given=given)

    def matrix(self, rows: slice, cols: slice) -> torch.Tensor:
        """A tile of the gradient."""
        return self.dy[:, rows].T @ self.x[:, cols]

    def product(self) -> None:
        """The dense product alone, in the same tiles."""
        for _ in self.scores(None).tiles():
            pass

    def choose(self, selector: Selector | None) -> torch.Tensor:
        """Product and selection."""
        return self.scores(selector).select(self.survivors, self.want, self.pattern.bucket(self.grid))


def medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each call, taken in turns; the median."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    return {name: round(sorted(taken)[rounds // 2], 4) for name, taken in samples.items()}


def measured(name: str, density: float, shape: tuple[int, int], batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of one case, and ratios to its product."""
    case, compiled = Case(name, density, shape, batch), compiled_selector(torch.float32)
    if compiled is None:
        raise SystemExit("growth: expected the compiled core, got none: build it, or unset GOSSAMER_ISA")
    if not torch.equal(case.choose(compiled), case.choose(None)):
        raise SystemExit("growth: the compiled selector chooses other positions than torch's")
    calls = {
        "product": case.product,
        "compiled": lambda: case.choose(compiled),
        "torch": lambda: case.choose(None),
    }
    seconds = medians(calls, rounds)
    return {
        "pattern": name,
        "density": density,
        "outputs": shape[0],
        "inputs": shape[1],
        "grown": int(case.want.sum()),
        "seconds": seconds,
        "over_product": {key: round(seconds[key] / seconds["product"], 2) for key in ("compiled", "torch")},
    }


def main() -> None:
    """Every pattern on every shape."""
    options = arguments(__doc__, batch=128, rounds=3)
    rows = []
    with threads(1):
        for shape in SHAPES:
            for name, density in PATTERNS.items():
                key = f"{name} {shape} {options.batch} {options.rounds}"
                make = partial(measured, name, density, shape, options.batch, options.rounds)
                rows.append(remembered("growth", key, make))
                print(rows[-1], flush=True)
    record("growth", {"batch": options.batch, "threads": 1, "drop": DROP, "rows": rows})


if __name__ == "__main__":
    main()
