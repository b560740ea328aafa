"""ResNet-20 on CIFAR-10 from scratch: what it says of images that moved, plain, blurred before strides, and by phases.

Dense and with truly sparse convolutions. Every run has the same images in the same order and the same course of the
learning rate. ``consistency`` is the share of images with the same answer: under all 1024 circular shifts of some test
images, in float32 and float64, before and after training; and, as published, under two random shifts from -3 to 2 of
each batch of all test images. Runs that are finished are kept in the folder, and one that was killed goes on from its
last epoch.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conv_accuracy import BATCH, DECAY, RATE, WARM, accuracy, connections, layers, rate, rule_of
from harness import RUNS, arguments, record
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data, models
from gossamer.invariance import anti_alias, shift_consistency
from gossamer.training import Extras, load_checkpoint, save_checkpoint

SMALL = range(-3, 3)  # shifts of the published test
Data = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """One network: what takes the place of its strides, and how it is made sparse."""

    sampling: str
    blur: int = 1
    density: float = 1.0
    pattern: str = ""
    rule: str = ""

    @property
    def name(self) -> str:
        """As in tables."""
        blurred = f", blur {self.blur}" if self.blur > 1 else ""
        sparse = f", {self.rule} {self.pattern} {round(100 * (1 - self.density))} %" if self.pattern else ""
        return f"{self.sampling}{blurred}{sparse}"

    def build(self, seed: int) -> nn.Module:
        """The network before training."""
        torch.manual_seed(seed)
        model = models.resnet20()
        if self.sampling == "phases":
            gs.make_shift_invariant(model, torch.zeros(2, 3, 32, 32), blur=self.blur)
        elif self.sampling != "plain":
            anti_alias(model, self.blur)
        if self.pattern:
            draw = torch.Generator().manual_seed(seed)
            settings = {"dense_first": True, "dense_last": True, "generator": draw}
            gs.sparsify(model, self.density, self.pattern, "erk", **settings)
        return model


def cases() -> list[Case]:
    """The comparisons that say most come first; "fixed" has circular borders and the usual grid."""
    dense = [("plain", 1), ("fixed", 3), ("phases", 1), ("phases", 3), ("fixed", 1)]
    sparse = [("plain", 1), ("fixed", 3), ("phases", 1)]
    kinds = [("unstructured", "rigl"), ("fanin:4", "srigl")]
    return [Case(*each) for each in dense] + [Case(*each, 0.1, *kind) for kind in kinds for each in sparse]


@torch.no_grad()
def small_shifts(model: nn.Module, x: Tensor) -> float:
    """The published test: two shifts of each batch, drawn anew, over all images."""
    draw = torch.Generator().manual_seed(0)
    model.eval()
    same = 0
    for part in x.split(500):
        first, second = torch.randint(SMALL.start, SMALL.stop, (2, 2), generator=draw).tolist()
        answers = [model(part.roll(shift, (2, 3))).argmax(1) for shift in (first, second)]
        same += int((answers[0] == answers[1]).sum())
    model.train()
    return same / len(x)


def consistency(model: nn.Module, x: Tensor, images: int) -> dict[str, float]:
    """Under all circular shifts, in both types, and under small ones."""
    some = x[:images]
    twin = copy.deepcopy(model).double()
    return {
        "all_float32": shift_consistency(model, some),
        "all_float64": shift_consistency(twin, some[: max(1, images // 4)].double()),
        "small": small_shifts(model, x),
    }


def run(one: Case, samples: Data, options: Any, seed: int, kept: Path) -> dict[str, Any]:
    """Train one network from scratch, or from its last checkpoint; returns what was measured."""
    x_train, y_train, x_test, y_test = samples
    per_epoch = len(x_train) // BATCH
    total = options.epochs * per_epoch
    model = one.build(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    engine = None
    if one.rule:
        rule = rule_of(one.rule, total, per_epoch)
        engine = gs.attach(model, optimizer, rule, total_steps=total, seed=seed)
    progress: dict[str, Any] = {"step": 0, "accuracy": [], "seconds": 0.0}
    if kept.is_file():
        progress = load_checkpoint(kept, model, optimizer, engine)
    else:
        progress["before"] = consistency(model, x_test, options.images)
    model.train()
    for epoch in range(progress["step"] // per_epoch, options.epochs):
        began = time.perf_counter()
        order = data.epoch_generator(seed, epoch)
        for x, y in data.batches(x_train, y_train, BATCH, order, drop_last=True):
            step = progress["step"]
            optimizer.param_groups[0]["lr"] = rate(step, total)
            moved = data.crop_and_flip(x, options.crop, data.step_generator(seed, step))
            optimizer.zero_grad()
            F.cross_entropy(model(moved), y).backward()
            optimizer.step()
            progress["step"] = step + 1
        progress["seconds"] += time.perf_counter() - began
        progress["accuracy"].append(round(accuracy(model, x_test, y_test), 2))
        save_checkpoint(kept, model, optimizer, engine, Extras(progress=progress))
    return {
        "accuracy": progress["accuracy"][-1],
        "accuracy_by_epoch": progress["accuracy"],
        "consistency_before": progress["before"],
        "consistency": consistency(model, x_test, options.images),
        "weights": sum(connections(layer) for layer in layers(model)),
        "seconds": round(progress["seconds"]),
    }


def main() -> None:
    """All cases of a seed before the next seed; the JSON is written anew after every run."""
    options = arguments(
        __doc__,
        epochs=1,
        seeds=1,
        seed=0,
        threads=1,
        crop=0,
        images=64,
        samples=50_000,
        tested=10_000,
        folder=str(RUNS / "shift_invariance"),
        only="",
        fresh=False,
    )
    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = data.load("cifar10").tensors(flatten=False)
    trained, tested = slice(options.samples), slice(options.tested)
    samples = (x_train[trained], y_train[trained], x_test[tested], y_test[tested])
    settings = {name: getattr(options, name) for name in ("epochs", "crop", "images", "samples", "tested")}
    for seed in range(options.seed, options.seed + options.seeds):
        for one in cases():
            if options.only and options.only != one.name:
                continue
            key = f"{one.name}, seed {seed}, " + ", ".join(f"{name} {n}" for name, n in settings.items())
            plain = "".join(c if c.isalnum() else "-" for c in key)
            done, kept = folder / f"{plain}.json", folder / f"{plain}.safetensors"
            if options.fresh:
                done.unlink(missing_ok=True)
                kept.unlink(missing_ok=True)
            if not done.is_file():
                result = run(one, samples, options, seed, kept)
                row = {"case": one.name, "seed": seed, **settings, "sampling": one.sampling, "blur": one.blur}
                row |= {"density": one.density, "pattern": one.pattern, "rule": one.rule, **result}
                done.write_text(json.dumps(row))
                kept.unlink(missing_ok=True)
            row = json.loads(done.read_text())
            print(f"{key}: {row['accuracy']:.2f} %, {row['consistency']}", flush=True)
            table(folder)


def table(folder: Path) -> None:
    """Everything that is finished, as one JSON."""
    rows = [json.loads(path.read_text()) for path in folder.glob("*-seed-*.json")]
    order = {one.name: number for number, one in enumerate(cases())}
    rows.sort(key=lambda row: (-row["samples"], row["epochs"], row["crop"], row["seed"], order[row["case"]]))
    recipe = {"batch": BATCH, "rate": RATE, "weight_decay": DECAY, "warm_share": WARM}
    recipe |= {"momentum": "0.9, Nesterov", "images": "mirror images, and random crops where crop is not 0"}
    recipe["test"] = (
        "`tested` for accuracy and small shifts; `images` of them under all shifts, a fourth in float64"
    )
    record("shift_invariance", {"network": "ResNet-20, CIFAR-10", "recipe": recipe, "runs": rows}, folder)


if __name__ == "__main__":
    main()
