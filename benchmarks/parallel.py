"""WASAP-SGD and WASSP-SGD with two workers against one process, on FashionMNIST at equal samples seen.

The network is that of ``set_mlp.py``: 784-1000-1000-1000-10, All-ReLU, SET. ``--part accuracy`` trains to the end once
a seed; ``--part time`` trains for fewer epochs, one mode after the other in several rounds, a single process on one
core and those of the other modes on two. Every run is kept in ``runs/``: the command goes on where it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import mean, median
from typing import Any

import torch
from harness import Row, arguments, known, pin, record, remembered
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
        clock = Clock()
        for epoch in epochs:
            order = epoch_generator(self.seed, epoch, self.part)
            for x, y in batches(self.x, self.y, TASK.batch, order, drop_last=True):
                forward.zero_grad()
                F.cross_entropy(forward(x), y).backward()
                step()
        return clock.per_step(self.steps * len(epochs))

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
    while server.collect():
        pass
    server.average()
    return {**result, "accuracy": own.accuracy(), "parameters": server.flat.size}


def member(mode: str, seed: int, epochs: int, cores: str) -> Row:
    """What every process runs."""
    torch.set_num_threads(1)
    pin(cores)
    if mode == "sequential":
        return sequential(seed, epochs)
    with connect() as group:
        return {"wasap": wasap, "wassp": wassp}[mode](group, seed, epochs)


def train(mode: str, seed: int, epochs: int) -> Row:
    """Train in as many processes as a mode has; rank 0's accuracy, and what a step took on every rank."""
    cores = "0" if mode == "sequential" else "0,1"
    launch = LaunchConfig(1, 1, MODES[mode], run_id=mode, rdzv_backend="c10d", rdzv_endpoint="localhost:0")
    ranks = elastic_launch(launch, member)(mode, seed, epochs, cores)
    print(mode, seed, epochs, ranks, flush=True)
    return {"ranks": [ranks[rank] for rank in range(MODES[mode])]}


if __name__ == "__main__":
    import sys
    r=train(sys.argv[1], 0, int(sys.argv[2]))
