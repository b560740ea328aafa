"""Seconds of a training epoch of the FashionMNIST network of SET: truly sparse, masked, dense, and the published code.

One thread, one process, in turns of equal length, since clocks drift within minutes; medians of epochs, each with a
topology update where there is one. Masked is ``home="masked"``: a dense weight times a mask, as users of simulated
sparsity have it. Dense and masked nets are measured with torch's dropout and with ours. The published SciPy and Numba
code is measured where it is:
``--published CHECKOUT --python INTERPRETER`` names a checkout of it, and a Python that has SciPy and Numba.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from harness import arguments, pin, record
from set_mlp import (
    LR,
    MOMENTUM,
    TASKS,
    Data,
    dense_network,
    network,
    rule_of,
    samples_of,
    train_epoch,
)
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import gossamer as gs
from gossamer.data.batches import batches, epoch_generator

TASK = TASKS["fashion-mnist"]
DECAY = 2e-4
TURN = 15.0  # seconds at least
PARTS = {  # operators of a profile
    "sparse products": ("gossamer::linear", "gossamer::linear_grad_input", "gossamer::linear_grad_values"),
    "activations with dropout": ("gossamer::leaky_dropout", "gossamer::leaky_dropout_backward"),
    "output layer": ("aten::addmm", "aten::mm"),
    "batches": ("aten::index_select",),
}


@dataclass
class Contender:
    """A network, its optimizer, and how many epochs it has behind it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int = 0

    def order(self) -> torch.Generator:
        """Of the samples in the next epoch."""
        self.epochs += 1
        return epoch_generator(0, self.epochs)

    def epoch(self, samples: Data) -> float:
        """Seconds of one."""
        order, began = self.order(), time.perf_counter()
        train_epoch(self.model, self.optimizer, samples, TASK.batch, order)
        return time.perf_counter() - began


def with_torch_dropout(model: nn.Module) -> nn.Module:
    """The same network with torch's dropout in place of ours."""
    for name, module in list(model.named_children()):
        if isinstance(module, gs.AllReLU):
            bent = gs.AllReLU(module.alpha, module.layer)
            setattr(model, name, nn.Sequential(bent, nn.Dropout(module.dropout)))
    return model


def masked_network() -> nn.Module:
    """As many connections as the sparse network, on dense weights; the output layer is dense in both."""
    model, sparse = dense_network(TASK, TASK.alpha, 0), network(TASK, TASK.alpha, 0)
    layers = {name: m for name, m in sparse.named_modules() if isinstance(m, gs.SparseLinear)}
    density = {name: m.connections / (m.shape[0] * m.shape[1]) for name, m in layers.items()}
    gs.sparsify(model, density, gs.Unstructured(), home="masked", init="dense", dense_last=True)
    return model


def contender(model: nn.Module, options: Any, per_epoch: int) -> Contender:
    """With the optimizer of the recipe, and SET once an epoch where there is something to rewire."""
    optimizer = gs.SGDW(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    if any(isinstance(module, (gs.SparseLinear, gs.MaskedLinear)) for module in model.modules()):
        gs.attach(model, optimizer, rule_of(options, per_epoch), total_steps=per_epoch * 500, seed=0)
    return Contender(model, optimizer)


def contenders(options: Any, per_epoch: int) -> Iterator[tuple[str, Contender]]:
    """Name and network of everything that runs in this process."""
    made: dict[str, Callable[[], nn.Module]] = {
        "sparse": lambda: network(TASK, TASK.alpha, 0),
        "dense": lambda: with_torch_dropout(dense_network(TASK, TASK.alpha, 0)),
        "masked": lambda: with_torch_dropout(masked_network()),
        "dense, our dropout": lambda: dense_network(TASK, TASK.alpha, 0),
        "masked, our dropout": masked_network,
    }
    for name, make in made.items():
        yield name, contender(make(), options, per_epoch)


def steps(one: Contender, samples: Data) -> list[float]:
    """Seconds of every optimizer step of an epoch; one of them, the longest, updates the topology."""
    seconds = []
    for x, y in batches(samples[0], samples[1], TASK.batch, one.order(), drop_last=True):
        one.optimizer.zero_grad()
        F.cross_entropy(one.model(x), y).backward()
        began = time.perf_counter()
        one.optimizer.step()
        seconds.append(time.perf_counter() - began)
    return seconds


def parts(one: Contender, samples: Data) -> dict[str, float]:
    """Where the seconds of an epoch go; those of operators under a profiler, which slows what is around them."""
    each = steps(one, samples)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        train_epoch(one.model, one.optimizer, samples, TASK.batch, one.order())
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    found = {part: sum(spent.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    usual = median(each)
    return {**found, "optimizer": usual * len(each), "topology update": max(each) - usual}


def published(checkout: str, python: str, samples: Data, epochs: int) -> list[float]:
    """Seconds of each epoch of the published code, in a process of its own on the same core."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npz"
        np.savez(path, x=samples[0].numpy(), y=samples[1].numpy())
        worker = Path(__file__).with_name("published_worker.py")
        command = [python, str(worker), checkout, str(path), str(epochs), str(TASK.batch)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (named by the user)
    return parsed(done.stdout)


def parsed(answer: str) -> list[float]:
    """The worker's line."""
    seconds = json.loads(answer)
    if not seconds or not all(isinstance(value, float) and value > 0 for value in seconds):
        raise SystemExit(f"set_epoch: expected seconds of epochs from the published code, got {answer!r}")
    return seconds


def main() -> None:
    """Epochs in turns, then the parts of ours, then the published code."""
    options = arguments(__doc__, core="1", rounds=3, published="", python="", prune="")
    pin(options.core)
    torch.set_num_threads(1)
    samples = samples_of(TASK)
    per_epoch = len(samples[0]) // TASK.batch
    running = dict(contenders(options, per_epoch))
    small = (samples[0][: 20 * TASK.batch], samples[1][: 20 * TASK.batch], *samples[2:])
    for one in running.values():
        train_epoch(one.model, one.optimizer, small, TASK.batch, epoch_generator(0, 0))  # warm
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(options.rounds):
        for name, one in running.items():
            until = time.perf_counter() + TURN
            while time.perf_counter() < until:
                seconds[name].append(round(one.epoch(samples), 3))
                print(name, seconds[name][-1], flush=True)
    profiled = {name: round(value, 4) for name, value in parts(running["sparse"], samples).items()}
    if options.published:
        found = published(options.published, options.python, samples, max(1, options.rounds - 1))
        seconds["published"] = [round(value, 3) for value in found]
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {name: round(value / medians["sparse"], 2) for name, value in medians.items()}
    shown = {"steps": per_epoch, "median": medians, "times_sparse": ratios, "parts": profiled}
    print(json.dumps(shown, indent=1))
    record("set_epoch", {"options": {"rounds": options.rounds}, "seconds": seconds, **shown})


if __name__ == "__main__":
    main()
