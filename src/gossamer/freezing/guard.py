"""Batch sizes nobody asked for: what was chosen for others must not be slower there than dense."""

from __future__ import annotations

import time
from bisect import bisect_left
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from gossamer.freezing.candidates import TIE
from gossamer.freezing.race import Race, program, resized
from gossamer.measure import alternate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.freezing.candidates import Candidates
    from gossamer.freezing.wanted import Wanted
    from gossamer.network.graph import Graph

PROBES: Final = (2, 8, 32, 128)  # beyond these the larger probes speak for what is larger still
LEAST_CALLS: Final = 10  # of a network, to compare two
BUDGET: Final = 1.2  # of the time for measuring the sizes asked for


def beyond(
    graph: Graph,
    found: dict[str, Candidates],
    inputs: tuple[Any, ...],
    runs: dict[int, Race],
    measured: Callable[[int], Race],
    wanted: Wanted,
) -> dict[int, Race]:
    """How to run at other batch sizes, where what was chosen is slower than dense at one of them.

    Args:
        graph: Graph - before forms are given.
        found: layer -> Candidates.
        inputs: the example.
        runs: batch size -> how it runs, of those asked for.
        measured: batch size -> the fastest way there, layers measured anew.
        wanted: Wanted.

    Returns:
        batch size -> Race; empty where nothing is slower, or dense is not to be had because the caller left it out. The
        first size that is slower is measured anew; where that is slower as well, at a later one, everything is dense.

    Cost: some ten calls of the network at each size, as far as about two seconds go; where a size is slower, what it
    costs to measure it.
    """
    if not wanted.guarded or any(each.dense not in each.ways for each in found.values()):
        return {}
    everywhere = Race({name: each.dense for name, each in found.items()}, "dense")
    dense = program(graph, found, everywhere.picks)
    made: dict[int, Race] = {}
    stop, pace, lost = time.perf_counter() + BUDGET * wanted.seconds, 0.0, False
    for batch in PROBES:
        if batch in runs:
            continue
        if time.perf_counter() + pace * batch * LEAST_CALLS > stop:
            break
        used = _used(runs | made, batch)
        given = tuple(resized(x, batch) if isinstance(x, Tensor) else x for x in inputs)
        calls = {"used": partial(program(graph, found, used.picks), *given), "dense": partial(dense, *given)}
        times = alternate(calls, seconds=0.02 * wanted.seconds)
        pace = max(times["used"].median, times["dense"].median) / batch
        slower = times["used"].p10 > TIE * times["dense"].p10
        made[batch] = Race(used.picks) if not slower else everywhere if lost else measured(batch)
        lost = lost or slower
    return made if lost else {}


def _used(runs: dict[int, Race], batch: int) -> Race:
    """How a batch size runs, of those that were asked for: as the nearest one, on a logarithmic scale."""
    sizes = sorted(runs)
    limits = [(a * b) ** 0.5 for a, b in pairwise(sizes)]
    return runs[sizes[bisect_left(limits, batch)]]
