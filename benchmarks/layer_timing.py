"""Medians of contenders in turns: with everything in cache, with weights out of cache, and in another process."""

from __future__ import annotations

import math
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

from layer_calls import Call

from gossamer.measure.timing import SHORTEST_RUN

PATIENCE = 2.0  # seconds: a call that takes longer is not repeated
LONG = 20e-3  # seconds: a call that takes longer has its weights in cache after a small part of it
WORKER = Path(__file__).with_name("deepsparse_worker.py")

Sampler = Callable[[], float]  # seconds of a call


class Worker:
    """A process that keeps one model and runs it when it is asked to; it inherits the cores of this one."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (the interpreter its user named)
            [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, request: str) -> str:
        """Its answer, one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request + "\n")
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{WORKER.name}: expected an answer to {request!r}, got none")
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Elsewhere:
    """A call that another process makes and times: its time counts, not that of the way there."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self) -> float:
        return float(self._worker.ask("run"))


def timed(call: Call, calls: int = 1) -> float:
    """Seconds of one call, averaged over a run of ``calls``."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def _warm(call: Call) -> Sampler:
    """Calls once to bring everything into cache, then times a run that is long enough for the clock."""
    if isinstance(call, Elsewhere):
        return call
    if (first := timed(call)) > PATIENCE:
        return lambda: first
    once = timed(call)
    calls = max(1, math.ceil(SHORTEST_RUN / once))

    def sample() -> float:
        if once < LONG:
            call()
        return timed(call, calls)

    return sample


def _cold(copies: Sequence[Call]) -> Sampler:
    """Times the next copy."""
    for call in copies:
        call()
    turns = cycle(copies)
    return lambda: timed(next(turns))


def _medians(samplers: Mapping[str, Sampler], seconds: float) -> dict[str, float]:
    """Seconds by name; three rounds at least, each all of them in another order, so that no place is better."""
    names = list(samplers)
    samples: dict[str, list[float]] = {name: [] for name in names}
    stop, turn = time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < stop:
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name].append(samplers[name]())
        turn += 1
    return {name: statistics.median(times) for name, times in samples.items()}


def warm(calls: Mapping[str, Call], seconds: float) -> dict[str, float]:
    """Name -> median seconds of a call whose operands the last one left in cache, as far as they fit."""
    return _medians({name: _warm(call) for name, call in calls.items()}, seconds)


def cold(copies: Mapping[str, Sequence[Call]], seconds: float) -> dict[str, float]:
    """Name -> median seconds of a call, over copies in turns: enough of them that a copy is out of cache again."""
    return _medians({name: _cold(calls) for name, calls in copies.items()}, seconds)
