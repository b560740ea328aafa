"""Times of several candidates, taken in turns so that a disturbed machine disturbs them alike, each in a warm cache."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossamer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SHORTEST_RUN = (
    50e-6  # seconds; faster calls are repeated until a run takes that long, against the clock's own cost
)


SHORT_CALL = (
    1e-3  # seconds; a shorter call may find its memory in the cache, which the others' turn has taken from it
)


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Args:
        median, p10, p90: float - over the runs; a run may be several calls, and is divided by them.
        runs: int.

    Example:
        >>> str(Timing(2.5e-5, 2e-5, 4e-5, 9))
        '25.0 us (20.0 to 40.0, 9 runs)'
    """

    median: float
    p10: float
    p90: float
    runs: int

    def __str__(self) -> str:
        return f"{self.median * 1e6:.1f} us ({self.p10 * 1e6:.1f} to {self.p90 * 1e6:.1f}, {self.runs} runs)"


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run torch, and kernels on its pool, with this many threads inside a ``with`` block.

    Args:
        number: int >= 1.

    Raises:
        ConfigError: fewer than one.

    Example:
        >>> import torch
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    import torch

    if number < 1:
        raise ConfigError("measure.threads", expected="at least 1", got=str(number))
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def alternate(
    candidates: Mapping[str, Callable[[], Any]], *, seconds: float = 0.5, repeats: int = 200
) -> dict[str, Timing]:
    """Time candidates in interleaved rounds: each round runs all of them once, every round in another order.

    A short call is made once more before each of its runs, so that it is timed as it runs when it is called again and
    again, not as it runs after the others.

    Args:
        candidates: name -> a call without arguments.
        seconds: float - budget for all of it, warm-up left out; three rounds are made in any case.
        repeats: int - rounds at most.

    Returns:
        name -> Timing, in the order given.

    Raises:
        ConfigError: a budget or a number of rounds below its least value.

    Cost: two warm-up calls of each candidate, then the budget.

    Example:
        >>> calls = {"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))}
        >>> times = alternate(calls, seconds=0.02)
        >>> times["short"].median < times["long"].median
        True
    """
    if seconds <= 0 or repeats < 3:
        raise ConfigError(
            "measure.alternate", expected="seconds > 0 and repeats >= 3", got=f"{seconds} and {repeats}"
        )
    calls = {name: _calls_a_run(candidate) for name, candidate in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    names, stop = list(candidates), time.perf_counter() + seconds
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() > stop:
            break
        shift = turn % len(names) if names else 0
        for name in names[shift:] + names[:shift]:
            number, short = calls[name]
            if short:
                candidates[name]()
            samples[name].append(_run(candidates[name], number))
    return {name: _summary(times) for name, times in samples.items()}


def _run(candidate: Callable[[], Any], calls: int) -> float:
    """Seconds of one call, averaged over a run of ``calls``."""
    start = time.perf_counter()
    for _ in range(calls):
        candidate()
    return (time.perf_counter() - start) / calls


def _calls_a_run(candidate: Callable[[], Any]) -> tuple[int, bool]:
    """Warm up, and find how many calls make a run long enough for the clock, and whether a call is short."""
    candidate()
    once = max(_run(candidate, 1), 1e-7)
    return max(1, math.ceil(SHORTEST_RUN / once)), once < SHORT_CALL


def _summary(times: list[float]) -> Timing:
    ordered = sorted(times)
    last = len(ordered) - 1
    p10, median, p90 = (ordered[round(q * last)] for q in (0.1, 0.5, 0.9))
    return Timing(median, p10, p90, len(ordered))
