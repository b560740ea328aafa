"""ResNet-20 on CIFAR-10 from scratch: which rules and which patterns of zeros keep the accuracy of the dense network.

Packed layers, which train as masked ones do. Every run has the same images in the same order, the same crops, and the
same course of the learning rate. The first convolution and the classifier stay dense. Runs that are finished are kept
in the folder, and one that was killed goes on from its last epoch.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from harness import RUNS, arguments, record
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data, models
from gossamer.rules import describe
from gossamer.training import Extras, load_checkpoint, save_checkpoint

BATCH, RATE, DECAY = 128, 0.2, 5e-4
WARM = 0.2  # share of the steps in which the rate rises
Data = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """One network: how it is made sparse, and by which rule its connections move."""

    name: str
    density: float = 1.0
    pattern: str = ""
    rule: str = ""
    width: float = 1.0
    allocation: str = "erk"

    def key(self, epochs: int, seed: int) -> str:
        """Names the run, and its files."""
        return f"{self.name}, {epochs} epochs, seed {seed}"


PATTERNS = {
    "unstructured": "unstructured",
    "fan-in": "fanin",
    "groups of 2": "fanin:2",
    "groups of 4": "fanin:4",
    "groups of 8": "fanin:8",
    "groups of 16": "block:16:1",  # each group of 16 rows may have a fan-in of its own
    "blocks of 16 x 16": "block:16",
}


def case(rule: str, pattern: str, percent: int, width: float = 1.0, allocation: str = "erk") -> Case:
    """A sparse network; ``percent`` of the weights are zero."""
    name = f"{rule} {pattern} {percent} %" + (f" {width:g}x wider" if width != 1 else "")
    name += f" {allocation}" if allocation != "erk" else ""
    return Case(name, 1 - percent / 100, PATTERNS[pattern], rule, width, allocation)


def cases() -> list[Case]:
    """The comparisons that say most come first."""
    groups = ("fan-in", "groups of 4", "groups of 8")
    first = [Case("dense"), case("rigl", "unstructured", 90), *(case("srigl", each, 90) for each in groups)]
    first += [case("rigl", "blocks of 16 x 16", 90), case("rigl", "groups of 16", 90)]
    tighter = [case("rigl", "unstructured", 95), *(case("srigl", each, 95) for each in groups)]
    tighter += [case("rigl", each, 95) for each in ("blocks of 16 x 16", "groups of 16")]
    looser = [case("rigl", each, 80) for each in ("blocks of 16 x 16", "groups of 16")]
    rules = [case(rule, "unstructured", 90) for rule in ("static", "set", "snfs")]
    wider = [
        case("rigl", "unstructured", 90, 2),
        case("srigl", "groups of 4", 90, 2),
        case("rigl", "unstructured", 75, 2, "uniform"),
    ]
    rest = [case("srigl", "groups of 2", percent) for percent in (90, 95)]
    structured = ("fan-in", "groups of 4", "blocks of 16 x 16")
    rest += [case(rule, each, 90) for rule in ("static", "set") for each in structured]
    rest += [case("rigl", each, 90) for each in groups]
    rest += [case(rule, "unstructured", 95) for rule in ("static", "set", "snfs")]
    return first + looser + rules + tighter + wider + rest


def rule_of(name: str, total: int, per_epoch: int) -> Any:
    """A rule that updates about twenty times in the first three quarters, as the papers do in longer trainings."""
    every = max(10, min(100, total // 30))
    if name == "static":
        return gs.Static()
    if name == "set":
        return gs.SET(every=max(every, per_epoch // 8))
    return {"rigl": gs.RigL, "srigl": gs.SRigL, "snfs": gs.SNFS}[name](every=every)


def rate(step: int, total: int) -> float:
    """One cycle: up in a straight line, down by a cosine to zero."""
    warm = int(WARM * total)
    if step < warm:
        return RATE * (step + 1) / warm
    return RATE * 0.5 * (1 + cos(pi * (step - warm) / (total - warm)))


def layers(model: nn.Module) -> list[Any]:
    """Convolutions and the classifier."""
    return [m for m in model.modules() if getattr(m, "weight", None) is not None and m.weight.dim() > 1]


def connections(layer: Any) -> int:
    """Weights that exist."""
    return int(getattr(layer, "connections", layer.weight.numel()))


def multiplications(model: nn.Module) -> int:
    """Of one image: a weight that exists is used once for every position of the output."""
    found = []

    def note(layer: Any, _inputs: Any, output: Tensor) -> None:
        positions = output[0].numel() // output.shape[1]
        found.append(positions * connections(layer))

    handles = [layer.register_forward_hook(note) for layer in layers(model)]
    training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    model.train(training)
    for handle in handles:
        handle.remove()
    return sum(found)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of the images answered rightly; the model is left in training mode."""
    model.eval()
    right = sum(
        int((model(part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(500), y.split(500), strict=True)
    )
    model.train()
    return 100.0 * right / len(y)


def run(one: Case, samples: Data, epochs: int, seed: int, kept: Path) -> dict[str, Any]:
    """Train one network from scratch, or from its last checkpoint; returns what was measured."""
    x_train, y_train, x_test, y_test = samples
    per_epoch = len(x_train) // BATCH
    total = epochs * per_epoch
    layout = torch.contiguous_format if one.pattern else torch.channels_last
    torch.manual_seed(seed)
    model = models.resnet20(width=one.width)
    rule = engine = None
    if one.pattern:
        draw = torch.Generator().manual_seed(seed)
        settings = {"dense_first": True, "dense_last": True, "generator": draw}
        gs.sparsify(model, one.density, one.pattern, one.allocation, **settings)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    if one.pattern:
        rule = rule_of(one.rule, total, per_epoch)
        engine = gs.attach(model, optimizer, rule, total_steps=total, seed=seed)
    progress: dict[str, Any] = {"step": 0, "accuracy": [], "seconds": 0.0}
    progress["multiplications"] = multiplications(model)
    if kept.is_file():
        progress = load_checkpoint(kept, model, optimizer, engine)
    for epoch in range(progress["step"] // per_epoch, epochs):
        began = time.perf_counter()
        order = data.epoch_generator(seed, epoch)
        for x, y in data.batches(x_train, y_train, BATCH, order, drop_last=True):
            step = progress["step"]
            optimizer.param_groups[0]["lr"] = rate(step, total)
            moved = data.crop_and_flip(x, 4, data.step_generator(seed, step))
            optimizer.zero_grad()
            F.cross_entropy(model(moved.contiguous(memory_format=layout)), y).backward()
            optimizer.step()
            progress["step"] = step + 1
        progress["seconds"] += time.perf_counter() - began
        progress["accuracy"].append(round(accuracy(model, x_test, y_test), 2))
        save_checkpoint(kept, model, optimizer, engine, Extras(progress=progress))
    return {
        "accuracy": progress["accuracy"][-1],
        "accuracy_by_epoch": progress["accuracy"],
        "rule": None if rule is None else describe(rule),
        "updates": len({row.step for row in engine.history}) if engine else 0,
        "weights": sum(connections(layer) for layer in layers(model)),
        "multiplications_first": progress["multiplications"],
        "multiplications": multiplications(model),
        "seconds": round(progress["seconds"]),
    }


def main() -> None:
    """All cases of a seed before the next seed; the JSON is written anew after every run."""
    options = arguments(
        __doc__,
        epochs=2,
        seeds=1,
        seed=0,
        threads=1,
        folder=str(RUNS / "conv_accuracy"),
        only="",
        fresh=False,
    )
    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    samples = data.load("cifar10").tensors(flatten=False)
    for seed in range(options.seed, options.seed + options.seeds):
        for one in cases():
            if options.only not in one.name:
                continue
            key = one.key(options.epochs, seed)
            plain = "".join(c if c.isalnum() else "-" for c in key)
            done, kept = folder / f"{plain}.json", folder / f"{plain}.safetensors"
            if options.fresh:
                done.unlink(missing_ok=True)
                kept.unlink(missing_ok=True)
            if not done.is_file():
                result = run(one, samples, options.epochs, seed, kept)
                row = {"case": one.name, "epochs": options.epochs, "seed": seed, "density": one.density}
                row |= {"pattern": one.pattern, "width": one.width, "allocation": one.allocation, **result}
                done.write_text(json.dumps(row))
                kept.unlink(missing_ok=True)
            print(f"{key}: {json.loads(done.read_text())['accuracy']:.2f} %", flush=True)
            table(folder)


def table(folder: Path) -> None:
    """Everything that is finished, as one JSON."""
    rows = [json.loads(path.read_text()) for path in folder.glob("*-seed-*.json")]
    order = {one.name: number for number, one in enumerate(cases())}
    rows.sort(key=lambda row: (row["epochs"], row["seed"], order.get(row["case"], len(order))))
    recipe = {
        "batch": BATCH,
        "rate": RATE,
        "weight_decay": DECAY,
        "warm_share": WARM,
        "momentum": "0.9, Nesterov",
    }
    recipe |= {
        "images": "50,000, padding 4, random crop and mirror image",
        "test": "10,000, after every epoch",
    }
    record("conv_accuracy", {"network": "ResNet-20, CIFAR-10", "recipe": recipe, "runs": rows}, folder)


if __name__ == "__main__":
    main()
