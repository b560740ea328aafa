"""WASAP-SGD and WASSP-SGD with two workers against one process, on FashionMNIST at equal samples seen.

The network is that of ``set_mlp.py``: 784-1000-1000-1000-10, All-ReLU, SET. ``--part accuracy`` trains to the end once
a seed; ``--part time`` trains for fewer epochs, one mode after the other in several rounds, a single process on one
core and those of the other modes on two. Every run is kept in ``runs/``: the command goes on where it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, pin, record, remembered
from parallel_plan import Costs, plan
from set_mlp import LR, MOMENTUM, TASKS, ZETA, accuracy, network, samples_of
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn import functional as F

import gossamer as gs
from gossamer.data.batches import batches, epoch_generator, part_of
from gossamer.parallel import Group, Server, Worker, connect, data_parallel, scaled_rate

TASK = TASKS["fashion-mnist"]
WORKERS = 2
ALONE = 0.3  # share of the epochs that workers of WASAP train by themselves
MODES = {"sequential": 1, "wasap": WORKERS + 1, "wassp": WORKERS}  # processes


class Part:
    """What one process does of a training: its samples, and its own model.

    Args:
        seed: int - of network, order and dropout.
        part, parts: int - which of the equal parts of the training samples are its own.
    """

    def __init__(self, seed: int, part: int, parts: int) -> None:
        self.seed, self.part = seed, part
        x, y, *self.test = samples_of(TASK)
        own = part_of(len(x), part, parts)
        self.x, self.y = x[own], y[own]
        self.steps = len(self.x) // TASK.batch  # of an epoch
        self.model = network(TASK, TASK.alpha, seed)
        self.optimizer = self.fresh_optimizer()
        torch.manual_seed(1000 * seed + part)

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)

    def rule(self, every: int) -> gs.SET:
        return gs.SET(every=every, drop=ZETA, fresh=True, strict=True, spare_output=True)

    def train(self, forward: nn.Module, epochs: range, step: Callable[[], Any]) -> Row:
        """Train for some epochs, last batches that are not full left out; what a step took."""
        clock, seconds = Clock(), []
        for epoch in epochs:
            order = epoch_generator(self.seed, epoch, self.part)
            for x, y in batches(self.x, self.y, TASK.batch, order, drop_last=True):
                began = time.process_time()  # others on the machine do not count
                forward.zero_grad()
                F.cross_entropy(forward(x), y).backward()
                seconds.append(time.process_time() - began)
                step()
        middle, late = np.quantile(seconds, (0.5, 0.84))  # one standard deviation apart
        return {**clock.per_step(len(seconds)), "gradient_ms": 1e3 * middle, "jitter": late / middle - 1}

    def accuracy(self) -> float:
        return round(accuracy(self.model, *self.test), 2)


class Clock:
    """Time of the wall and of this process's threads since it was made."""

    def __init__(self) -> None:
        self.wall, self.busy = time.perf_counter(), time.process_time()

    def per_step(self, steps: int) -> Row:
        wall, busy = time.perf_counter() - self.wall, time.process_time() - self.busy
        return {"steps": steps, "wall_ms": 1e3 * wall / steps, "cpu_ms": 1e3 * busy / steps}


def sequential(seed: int, epochs: int) -> Row:
    """One process, no others."""
    own = Part(seed, 0, 1)
    gs.attach(own.model, own.optimizer, own.rule(own.steps), total_steps=epochs * own.steps, seed=seed)
    return {"shared": own.train(own.model, range(epochs), own.optimizer.step), "accuracy": own.accuracy()}


def wassp(group: Group, seed: int, epochs: int) -> Row:
    """A worker in step with the others: the same as ``--mode wassp`` of the command line."""
    own = Part(seed, group.rank, group.count)
    whole = data_parallel(own.model)
    engine = gs.attach(
        own.model, own.optimizer, own.rule(own.steps), total_steps=epochs * own.steps, seed=seed
    )

    def step() -> None:
        rate = scaled_rate(LR, group.count, engine.step / own.steps)
        own.optimizer.param_groups[0]["lr"] = rate
        own.optimizer.step()

    return {"shared": own.train(whole, range(epochs), step), "accuracy": own.accuracy()}


def wasap(group: Group, seed: int, epochs: int) -> Row:
    """The server, or a worker."""
    workers, shared = group.count - 1, epochs - round(ALONE * epochs)
    own = Part(seed, max(0, group.rank - 1), workers)
    rule = own.rule(workers * own.steps)
    if group.rank == 0:
        total = workers * own.steps * shared
        server = Server(group, own.model, own.optimizer, rule, total_steps=total, seed=seed)
        return serve(server, own, total)
    worker = Worker(group, own.model, rule)
    worker.start()
    sent, received = group.sent, group.received
    result = {"shared": own.train(own.model, range(shared), worker.step)}
    result["shared"] |= {"sent": group.sent - sent, "received": group.received - received}
    worker.leave(own.fresh_optimizer(), total_steps=(epochs - shared) * own.steps, seed=seed + group.rank)
    result["alone"] = own.train(own.model, range(shared, epochs), worker.step)
    worker.deliver()
    return result


def serve(server: Server, own: Part, total: int) -> Row:
    """Take every gradient, then the models of the workers."""
    server.take()  # workers begin together
    clock = Clock()
    while server.take() is not None:
        pass
    result = {"shared": clock.per_step(total - 1), "accuracy_shared": own.accuracy()}
    result["updates"] = len({row.step for row in server.engine.history})
    while server.collect():
        pass
    server.average()
    return {**result, "accuracy": own.accuracy(), "parameters": server.flat.size}


def cores_of(mode: str) -> str:
    """One core for a process by itself, two for all processes of the other modes."""
    return "0" if mode == "sequential" else "0,1"


def member(mode: str, seed: int, epochs: int) -> Row:
    """What every process runs."""
    torch.set_num_threads(1)
    pin(cores_of(mode))
    if mode == "sequential":
        return sequential(seed, epochs)
    with connect() as group:
        return (wasap if mode == "wasap" else wassp)(group, seed, epochs)


def train(mode: str, seed: int, epochs: int) -> Row:
    """One training in as many processes as a mode has: what every rank measured."""
    settings = LaunchConfig(1, 1, MODES[mode], run_id=mode, rdzv_backend="c10d", rdzv_endpoint="localhost:0")
    ranks = elastic_launch(settings, member)(mode, seed, epochs)
    return {"ranks": [ranks[rank] for rank in range(MODES[mode])]}


def runs(part: str, count: int, epochs: int) -> dict[str, list[Row]]:
    """``count`` runs of every mode, in turns; those that were made before are remembered."""
    done: dict[str, list[Row]] = {mode: [] for mode in MODES}
    for number in range(count):
        for mode in MODES:
            seed = number if part == "accuracy" else 0
            key = f"{part} {mode} {epochs} {number}"
            done[mode].append(remembered("parallel", key, lambda m=mode, s=seed: train(m, s, epochs)))
            print(key, flush=True)
    return done


def accuracies(done: dict[str, list[Row]]) -> Row:
    """Test accuracy by mode; WASAP's before its workers left the server, too."""
    got = {mode: [run["ranks"][0]["accuracy"] for run in rows] for mode, rows in done.items()}
    result: Row = {mode: {"mean": round(mean(values), 2), "runs": values} for mode, values in got.items()}
    result["wasap"]["runs_shared_phase"] = [run["ranks"][0]["accuracy_shared"] for run in done["wasap"]]
    return result


def steps(done: list[Row], phase: str, rank: int) -> Row:
    """Median over runs of what a step of a rank took."""
    rows = [run["ranks"][rank][phase] for run in done]
    return {key: round(median(row[key] for row in rows), 3) for key in rows[0]}


def speeds(done: dict[str, list[Row]]) -> Row:
    """What a step takes by mode and phase, and how many times faster than one process that is for equal samples.

    Processor time says what two cores that do nothing else would give, if nobody ever waited.
    """
    alone = steps(done["sequential"], "shared", 0)
    shared, local = steps(done["wasap"], "shared", 1), steps(done["wasap"], "alone", 1)
    wasap_ms = ((1 - ALONE) * shared["wall_ms"] + ALONE * local["wall_ms"]) / WORKERS
    wassp_step = steps(done["wassp"], "shared", 0)
    faster = {
        "wasap": alone["wall_ms"] / wasap_ms,
        "wasap, shared phase": alone["wall_ms"] * WORKERS / shared["wall_ms"],
        "wasap, alone": alone["wall_ms"] * WORKERS / local["wall_ms"],
        "wassp": alone["wall_ms"] * WORKERS / wassp_step["wall_ms"],
    }
    server = steps(done["wasap"], "shared", 0)
    busy = {
        "wasap": (1 - ALONE) * (shared["cpu_ms"] + server["cpu_ms"]) + ALONE * local["cpu_ms"],
        "wassp": wassp_step["cpu_ms"],
    }
    return {
        "times_faster": {key: round(value, 2) for key, value in faster.items()},
        "processor_times_faster": {
            key: round(WORKERS * alone["cpu_ms"] / value, 2) for key, value in busy.items()
        },
        "per_step": {
            "sequential": alone,
            "wasap worker, shared phase": shared,
            "wasap worker, alone": local,
            "wasap server": server,
            "wassp worker": wassp_step,
        },
    }


def messages(done: list[Row]) -> Row:
    """Bytes of a worker's step, and of what an update of the topology adds to one answer."""
    server, worker = done[0]["ranks"][0], done[0]["ranks"][1]["shared"]
    header_and_values = worker["sent"] / worker["steps"]
    differences = worker["received"] - worker["steps"] * header_and_values
    return {
        "parameters": server["parameters"],
        "wasap_sent_per_step": round(header_and_values),
        "wasap_received_per_step": round(header_and_values),
        "wasap_difference_per_update": round(differences / server["updates"]),
        "in_step_reduced_per_step": 4 * server["parameters"],
    }


def costs(per_step: Row, talk: Row) -> Costs:
    """What the plan needs: a worker's processor time while it is the server's, and the server's."""
    worker = per_step["wasap worker, shared phase"]
    pairs = 4 * TASK.batch * sum(a + b for a, b in pairwise(TASK.widths[:-1]))
    server = per_step["wasap server"]["cpu_ms"]
    return Costs(worker["cpu_ms"], worker["jitter"], server, talk["wasap_sent_per_step"], pairs, every=100)


def main() -> None:
    """Both parts, or one; ``results/parallel.json`` is written once both are known."""
    options = arguments(__doc__, part="both", seeds=3, epochs=20, rounds=3, timed_epochs=3)
    if options.part != "time":
        trained = runs("accuracy", options.seeds, options.epochs)
    if options.part != "accuracy":
        timed = runs("time", options.rounds, options.timed_epochs)
    if options.part != "both":
        return
    speed, talk = speeds(timed), messages(timed["wasap"])
    record(
        "parallel",
        {
            "options": vars(options),
            "workers": WORKERS,
            "alone": ALONE,
            "batch": TASK.batch,
            "widths": TASK.widths,
            "accuracy": accuracies(trained),
            **speed,
            "bytes": talk,
            "plan": plan(costs(speed["per_step"], talk), speed["per_step"]["sequential"]["cpu_ms"]),
        },
    )


if __name__ == "__main__":
    main()
