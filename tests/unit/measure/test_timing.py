"""Times are taken in turns, and say how they spread."""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby

import pytest
import torch

from gossamer.errors import ConfigError
from gossamer.measure import Timing, alternate, machine, threads


def test_candidates_take_turns():
    order: list[str] = []
    calls = {name: lambda name=name: (order.append(name), time.sleep(0.001)) for name in "abc"}
    times = alternate(calls, seconds=0.05, repeats=9)
    rounds = order[6:]  # warm-up: twice each
    assert {times[name].runs for name in "abc"} == {len(rounds) // 3}
    for start in range(0, len(rounds), 3):
        assert sorted(rounds[start : start + 3]) == ["a", "b", "c"]
    assert len({rounds[start] for start in range(0, len(rounds), 3)}) == 3
    assert list(times) == ["a", "b", "c"]


def test_fast_calls_are_repeated_within_a_run():
    timing = alternate({"nothing": lambda: None}, seconds=0.05)["nothing"]
    assert 0 < timing.p10 <= timing.median <= timing.p90 < 1e-4
    assert timing.runs >= 3


def test_a_short_call_is_made_once_before_it_is_timed():
    """Each run of a short call directly follows another call of the same candidate."""
    order: list[str] = []
    alternate({name: partial(order.append, name) for name in "ab"}, seconds=0.002, repeats=5)
    turns = [sum(1 for _ in group) for _, group in groupby(order)]
    assert min(turns[2:]) >= 2


def test_times_are_in_seconds():
    timing = alternate({"sleep": lambda: time.sleep(0.004)}, seconds=0.001)["sleep"]
    assert 0.004 <= timing.median < 0.2
    assert timing.runs == 3
    assert str(Timing(1e-3, 1e-3, 2e-3, 3)) == "1000.0 us (1000.0 to 2000.0, 3 runs)"


def test_nothing_to_time():
    assert alternate({}, seconds=0.01) == {}
    for bad in ({"seconds": 0}, {"repeats": 2}):
        with pytest.raises(ConfigError, match="alternate"):
            alternate({"a": lambda: None}, **bad)


def test_threads_are_set_and_put_back():
    before = torch.get_num_threads()

    def fail() -> None:
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_num_threads() == before
    with pytest.raises(ConfigError, match="at least 1"), threads(0):
        pass


def test_the_machine_is_described():
    facts = machine()
    assert set(facts) == {
        "cpu", "cores", "instruction_sets", "caches", "governor", "os", "python", "torch", "numpy", "threads"
    }  # fmt: skip
    assert facts["cores"] >= 1
    assert facts["threads"] == torch.get_num_threads()
