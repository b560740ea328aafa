"""How far training with many workers scales: a queueing model fed with what ``parallel.py`` measured on two cores.

Every worker has a core and a link of its own. Links are full duplex; the server has one core. Time only: what many
workers do to accuracy (old gradients, large batches) is another matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

from harness import Row

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NETWORKS = {"1 Gbit/s": (1.0, 0.1), "10 Gbit/s": (10.0, 0.05), "100 Gbit/s": (100.0, 0.01)}  # latency in ms


@dataclass(frozen=True)
class Costs:
    """Of one step of one worker, in milliseconds of one core, and its message.

    Args:
        compute: float - forward, backward, and the worker's share of talking.
        jitter: float - standard deviation of the computation over its mean.
        server: float - to take one gradient, apply it and answer.
        message: int - bytes, one way.
        pairs: int - bytes of recorded inputs and output gradients, for growth by gradient.
        every: int - steps between updates of the topology.
    """

    compute: float
    jitter: float
    server: float
    message: int
    pairs: int
    every: int


def wasap(costs: Costs, workers: int, gigabits: float, latency: float) -> float:
    """Gradients a millisecond that a server takes: mean value analysis of a closed network (Reiser, Lavenberg 1980).

    Exact where service times are exponential, and in both limits: all workers busy, or the busiest station.
    """
    stations = [costs.server, transfer(costs.message, gigabits), transfer(costs.message, gigabits)]
    waiting, rate = [0.0] * len(stations), 0.0
    for count in range(1, workers + 1):
        stay = [service * (1 + queue) for service, queue in zip(stations, waiting, strict=True)]
        rate = count / (costs.compute + 2 * latency + sum(stay))
        waiting = [rate * time for time in stay]
    return rate


def in_step(costs: Costs, workers: int, gigabits: float, latency: float, *, pairs: bool = False) -> float:
    """Gradients a millisecond with a ring all-reduce after every step; all wait for the slowest.

    The slowest of K normal times is about sqrt(2 ln K) standard deviations above the mean.
    """
    slowest = costs.compute * (1 + costs.jitter * sqrt(2 * log(workers)))
    ring = 2 * (workers - 1) * (latency + transfer(costs.message, gigabits) / workers)
    grown = (workers - 1) * (latency + transfer(costs.pairs, gigabits)) / costs.every if pairs else 0.0
    return workers / (slowest + ring + grown)


def transfer(size: int, gigabits: float) -> float:
    """Milliseconds on the wire."""
    return 8 * size / (gigabits * 1e6)


def plan(costs: Costs, alone: float) -> Row:
    """Times faster than one process, by network, mode and workers, and the most workers that are half used or better.

    Args:
        costs: Costs - measured.
        alone: float - processor milliseconds of a step of one process without others.
    """
    curves: Row = {}
    for name, network in NETWORKS.items():
        modes = {
            "wasap": [wasap(costs, count, *network) for count in WORKERS],
            "wassp": [in_step(costs, count, *network) for count in WORKERS],
            "ddp": [in_step(costs, count, *network, pairs=True) for count in WORKERS],
        }
        curves[name] = {
            mode: {
                "times_faster": [round(rate * alone, 2) for rate in rates],
                "half_used": max(
                    (count for count, rate in zip(WORKERS, rates, strict=True) if rate * alone >= count / 2),
                    default=0,
                ),
            }
            for mode, rates in modes.items()
        }
    return {"workers": WORKERS, "costs": vars(costs), "networks": curves}
