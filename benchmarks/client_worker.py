"""Many threads on one ``Runtime``, without torch: every answer is compared with that of a single thread, to the bit.

``python client_worker.py FILE SHAPE THREADS CALLS ROUNDS`` answers with JSON. SHAPE is that of one sample, numbers
between commas; CALLS are those of all threads and rounds together. Every round has new threads, so that what a thread
keeps must go with it. Each thread has inputs of its own, of one sample and of four in turn. Behind every round one
thread asks as often as each did, for its time.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gossamer.runtime import Runtime

INPUTS = 6  # a thread
BATCHES = (1, 4)
Array = np.ndarray[Any, Any]
Network = Callable[[Array], Array]


class Client(NamedTuple):
    """What one thread asks, and what a single thread was answered."""

    asked: list[Array]
    wanted: list[Array]


def clients(alone: Runtime, shape: tuple[int, ...], number: int) -> list[Client]:
    """Inputs of each client, and answers of a network that no other thread uses."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(number):
        batches = [BATCHES[place % len(BATCHES)] for place in range(INPUTS)]
        asked = [rng.standard_normal((batch, *shape)).astype(np.float32) for batch in batches]
        made.append(Client(asked, [alone(x) for x in asked]))
    return made


def ask(network: Network, client: Client, calls: int) -> int:
    """Answers that differ in a bit from what is wanted."""
    pairs = list(zip(client.asked, client.wanted, strict=True))
    wrong = 0
    for call in range(calls):
        x, wanted = pairs[call % len(pairs)]
        wrong += network(x).tobytes() != wanted.tobytes()
    return wrong


def together(network: Network, callers: Sequence[Client], calls: int) -> tuple[float, float, int]:
    """Seconds, and those of the processor, once all threads are there, and wrong answers; raises a thread's error."""
    barrier = threading.Barrier(len(callers) + 1)

    def run(client: Client) -> int:
        barrier.wait()
        return ask(network, client, calls)

    with ThreadPoolExecutor(len(callers)) as pool:
        tasks = [pool.submit(run, client) for client in callers]
        barrier.wait()
        began, busy = time.perf_counter(), time.process_time()
        wrong = sum(task.result() for task in tasks)
        return time.perf_counter() - began, time.process_time() - busy, wrong


def resident() -> int:
    """Bytes of this process in memory now, after the allocator gave back what is free."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Most bytes that it ever had, which getrusage mixes with those of the parent that it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def main() -> None:
    """Ask in rounds; memory is read after each."""
    path, shape, number, calls, rounds = (
        sys.argv[1],
        tuple(map(int, sys.argv[2].split(","))),
        *map(int, sys.argv[3:6]),
    )
    callers = clients(Runtime(path), shape, number)
    network = Runtime(path)  # its first calls come from all threads at once
    each = -(-calls // (number * rounds))
    names = ("seconds", "processor", "alone", "processor_alone", "resident", "peak")
    result: dict[str, Any] = {"calls": each * number * rounds, "calls_alone": each} | {
        name: [] for name in names
    }
    wrong = 0
    for _ in range(rounds):
        *many, more = together(network, callers, each)
        *one, others = together(network, callers[:1], each)
        wrong += more + others
        for name, value in zip(names, (*many, *one, resident(), peak()), strict=True):
            result[name].append(value)
        print(f"{wrong} wrong, {result['resident'][-1] >> 10} KiB", file=sys.stderr, flush=True)
    print(json.dumps({**result, "wrong": wrong, "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
