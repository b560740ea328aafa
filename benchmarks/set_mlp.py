"""SET with All-ReLU on FashionMNIST, CIFAR-10 (not augmented) and Madelon, by the published recipe (Curci et al. 2021).

A run writes a checkpoint and its log after every epoch into ``runs/`` and goes on from there when started again with
the same options; whenever one ends, the results are written anew from every log so far. Independent replications of
500 epochs (no weight decay, ``--prune published``) report as best accuracy in per cent: FashionMNIST All-ReLU 91.0-91.2
(after epochs 1 / 10 / 100: 66-67 / 86.0-86.5 / 89.9-90.1), ReLU 90.5-91.0 (66-68 / 85.4-85.8 / 89.6-89.9); CIFAR-10
All-ReLU 62.2-62.3, ReLU 59.8; Madelon All-ReLU 67.5-68.2, ReLU 64.7-67.7.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RUNS, arguments, record, shared_file
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data
from gossamer.data.batches import batches, epoch_generator
from gossamer.topology import erdos_renyi
from gossamer.training import Engine, Extras

DROPOUT, LR, MOMENTUM, ZETA = 0.3, 0.01, 0.9, 0.3
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def images(name: str) -> Data:
    """Raw pixels as float32, labels."""
    return data.load(name).tensors(standardize=False)


def madelon() -> Data:
    """The published validation part is the test set: labels of the test part were never published."""
    with np.load(shared_file("madelon.npz")) as file:
        x_train, y_train, x_test, y_test = (
            torch.from_numpy(file[part].astype(kind))
            for part, kind in (
                ("x_train", np.float32),
                ("y_train", np.int64),
                ("x_test", np.float32),
                ("y_test", np.int64),
            )
        )
    return x_train, y_train, x_test, y_test


@dataclass(frozen=True)
class Task:
    """A data set and the published network for it."""

    read: Callable[[], Data]
    widths: tuple[int, ...]
    alpha: float
    epsilon: int
    batch: int
    law: str = "he_uniform"


TASKS = {
    "fashion-mnist": Task(lambda: images("fashion-mnist"), (784, 1000, 1000, 1000, 10), 0.6, 20, 128),
    "cifar10": Task(lambda: images("cifar10"), (3072, 4000, 1000, 4000, 10), 0.75, 20, 128),
    "madelon": Task(madelon, (500, 400, 100, 400, 2), 0.5, 10, 32, "xavier_uniform"),
}


def samples_of(task: Task) -> Data:
    """Features standardized one by one with the training samples' moments."""
    x_train, y_train, x_test, y_test = task.read()
    mean, std = x_train.mean(0), x_train.std(0, correction=0)
    std[std == 0] = 1.0
    return (x_train - mean) / std, y_train, (x_test - mean) / std, y_test


def dense_network(task: Task, alpha: float, seed: int) -> nn.Sequential:
    """The network before it is sparse; its output layer has the law of the others."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for number, activation in enumerate(gs.all_relus(alpha, len(task.widths) - 2, DROPOUT)):
        layers += [nn.Linear(*task.widths[number : number + 2]), activation]
    model = nn.Sequential(*layers, output := nn.Linear(*task.widths[-2:]))
    if task.law == "he_uniform":
        nn.init.kaiming_uniform_(output.weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(output.weight)
    nn.init.zeros_(output.bias)
    return model


def network(task: Task, alpha: float, seed: int) -> nn.Module:
    """Sparse by Erdos-Renyi, values spread as in dense layers; a layer that may have every connection is dense."""
    model = dense_network(task, alpha, seed)
    shapes = {name: m.weight.shape for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    generator = torch.Generator().manual_seed(seed)
    density = erdos_renyi(shapes, task.epsilon)
    gs.sparsify(model, density, gs.Unstructured(), init="dense", law=task.law, generator=generator)
    return model


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of test samples classified rightly."""
    model.eval()
    right = sum(
        int((model(part).argmax(1) == label).sum())
        for part, label in zip(x.split(1000), y.split(1000), strict=True)
    )
    model.train()
    return 100.0 * right / len(y)


def connections(model: nn.Module) -> int:
    """Weights that exist, the dense output layer's included."""
    return sum(m.connections if hasattr(m, "connections") else m.weight.numel() for m in layers_of(model))


def layers_of(model: nn.Module) -> list[Any]:
    """Sparse and dense linear layers."""
    return [m for m in model.modules() if isinstance(m, (gs.SparseLinear, nn.Linear))]


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, samples: Data, batch: int, order: Any
) -> float:
    """One pass over the training samples, a last batch that is not full left out; the mean loss."""
    total, steps = 0.0, 0
    for x, y in batches(samples[0], samples[1], batch, order, drop_last=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total, steps = total + loss.item(), steps + 1
    return total / steps


def rule_of(options: Any, per_epoch: int) -> gs.SET | gs.ImportancePruning:
    """SET once an epoch; with ``--prune clean`` or ``published`` a tenth of the neurons go every 20 epochs."""
    rewire = gs.SET(every=per_epoch, drop=ZETA, fresh=True, strict=True, spare_output=True)
    if not options.prune:
        return rewire
    every, begin, published = 20 * per_epoch, 200 * per_epoch + 1, options.prune == "published"
    return gs.ImportancePruning(every=every, begin=begin, drop=0.1, then=rewire, published=published)


def train(options: Any, path: Path) -> list[dict[str, Any]]:
    """Train from the last checkpoint, or the start, for as many epochs as this call may take; the whole log."""
    task = TASKS[options.data]
    samples = samples_of(task)
    per_epoch = len(samples[0]) // task.batch
    model = network(task, task.alpha if options.activation == "all-relu" else 0.0, options.seed)
    optimizer = gs.SGDW(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=options.weight_decay)
    rule = rule_of(options, per_epoch)
    engine: Engine = gs.attach(
        model, optimizer, rule, total_steps=per_epoch * options.epochs, seed=options.seed
    )
    log: list[dict[str, Any]] = []
    if path.exists():
        log = gs.load_checkpoint(path, model, optimizer, engine)["log"]
    last = min(options.epochs, len(log) + options.at_most) if options.at_most else options.epochs
    for epoch in range(len(log), last):
        loss = train_epoch(model, optimizer, samples, task.batch, epoch_generator(options.seed, epoch))
        row = {
            "epoch": epoch + 1,
            "accuracy": round(accuracy(model, *samples[2:]), 2),
            "loss": round(loss, 5),
            "connections": connections(model),
        }
        log.append(row)
        gs.save_checkpoint(path, model, optimizer, engine, Extras(progress={"log": log}))
        print(json.dumps(row), flush=True)
    return log


def summary(options: Any, log: list[dict[str, Any]]) -> dict[str, Any]:
    """What a table shows of a run, and its curve."""
    curve = [row["accuracy"] for row in log]
    after = {str(n): curve[n - 1] for n in (1, 10, 100, 500) if n <= len(curve)}
    return {
        **vars(options),
        "trained": len(curve),
        "best": max(curve),
        "last": curve[-1],
        "after_epoch": after,
        "connections": [log[0]["connections"], log[-1]["connections"]],
        "accuracy": curve,
    }


def main() -> None:
    """One run; ``--at-most 5`` stops after five epochs, to be continued."""
    options = arguments(
        __doc__,
        data="fashion-mnist",
        activation="all-relu",
        epochs=500,
        at_most=0,
        seed=0,
        weight_decay=0.0,
        prune="",
        threads=1,
    )
    torch.set_num_threads(options.threads)
    RUNS.mkdir(exist_ok=True)
    key = f"{options.data}_{options.activation}_{options.epochs}_wd{options.weight_decay:g}"
    key += f"_seed{options.seed}" + (f"_{options.prune}" if options.prune else "")
    path = RUNS / f"set_mlp_{key}.safetensors"
    path.with_suffix(".json").write_text(json.dumps(summary(options, train(options, path))))
    record(
        "set_mlp", {"runs": [json.loads(file.read_text()) for file in sorted(RUNS.glob("set_mlp_*.json"))]}
    )


if __name__ == "__main__":
    main()
