"""ResNet-20 on CIFAR-10 made smaller in four ways, each with its accuracy and its measured time of one image.

Channels removed with all that is tied to them, with and without their means folded; connections removed one by one; and
narrower networks of the same kind, trained from scratch for as many epochs. All are frozen and timed in turns, one
thread, beside torch. Accuracies are those at once, with batch norms recalibrated, and after ``--epochs`` of tuning with
the same images, crops and learning rates. Networks that are trained are kept in the folder: a killed run goes on.
The checkpoint is ``models/resnet20_cifar10.th`` of GOSSAMER_DATA.
"""

from __future__ import annotations

import json
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from harness import RUNS, Row, arguments, pin, record, shared_file
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data, models
from gossamer.compress import recalibrate
from gossamer.measure import alternate, threads

BATCH, RATE, DECAY = 128, 0.02, 1e-4
FRESH = 0.2  # the rate of networks from scratch
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Data = tuple[Tensor, Tensor, Tensor, Tensor]
CASES: list[Row] = [{"way": "dense", "share": 1.0}]
CASES += [
    {"way": way, "share": s} for s in (0.8, 0.65, 0.5) for way in ("channels", "channels, means folded")
]
CASES += [{"way": "connections", "share": s} for s in (0.3, 0.2, 0.1)]
CASES += [{"way": "narrower", "share": s} for s in (0.75, 0.5)]


def samples(name: str) -> Data:
    """Images as the checkpoint was trained on them."""
    x_train, y_train, x_test, y_test = data.load(name).tensors(flatten=False, standardize=False)
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in (MEAN, STD))
    return (x_train / 255 - mean) / std, y_train, (x_test / 255 - mean) / std, y_test


def trained() -> nn.Module:
    """The checkpoint."""
    held = torch.load(shared_file("models/resnet20_cifar10.th"), map_location="cpu", weights_only=True)[
        "state_dict"
    ]
    model = models.resnet20()
    model.load_state_dict({name.removeprefix("module."): value for name, value in held.items()})
    return model.eval()


def made(case: Row, batches: list[Tensor]) -> nn.Module:
    """The smaller network, before any training."""
    way, share = case["way"], case["share"]
    if way == "narrower":
        torch.manual_seed(0)
        return models.resnet20(width=share)
    model = trained()
    if way.startswith("channels"):
        means = batches if "means" in way else None
        gs.prune_channels(model, batches[0][:2], share, data=means, round_to=4)
    elif way == "connections":
        gs.prune(model, share, dense_first=True, dense_last=True)
    return model


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of the images answered rightly."""
    model.eval()
    right = sum(
        int((model(part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(500), y.split(500), strict=True)
    )
    return round(100.0 * right / len(y), 2)


def tune(model: nn.Module, given: Data, epochs: int, rate: float) -> None:
    """Cross entropy, crops and flips, SGD; the rate falls by a cosine."""
    x_train, y_train = given[:2]
    total, step = epochs * (len(x_train) // BATCH), 0
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=DECAY)
    model.train()
    for epoch in range(epochs):
        for x, y in data.batches(x_train, y_train, BATCH, data.epoch_generator(0, epoch), drop_last=True):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + cos(pi * step / total))
            optimizer.zero_grad()
            F.cross_entropy(model(data.crop_and_flip(x, 4, data.step_generator(0, step))), y).backward()
            optimizer.step()
            step += 1
    model.eval()


def run(case: Row, given: Data, epochs: int, folder: Path) -> tuple[Row, nn.Module]:
    """A row without its time, and the network; both from the folder where they are there."""
    name = "".join(c if c.isalnum() else "-" for c in f"{case['way']} {case['share']} {epochs}")
    row_file, model_file = folder / f"{name}.json", folder / f"{name}.pt"
    if row_file.is_file():
        return json.loads(row_file.read_text()), torch.load(model_file, weights_only=False)
    x_train, _, x_test, y_test = given
    moved = [
        data.crop_and_flip(x, 4, data.step_generator(1, n)) for n, x in enumerate(x_train[:2560].split(256))
    ]
    model = made(case, moved)
    row = {**case, "epochs": epochs, "at once": accuracy(model, x_test, y_test)}
    if case["way"] not in ("dense", "narrower"):
        recalibrate(model, moved)
        row["recalibrated"] = accuracy(model, x_test, y_test)
    if case["way"] != "dense" and epochs:
        tune(model, given, epochs, FRESH if case["way"] == "narrower" else RATE)
        row["tuned"] = accuracy(model, x_test, y_test)
    row["parameters"] = sum(p.numel() for p in model.parameters())
    torch.save(model, model_file)
    row_file.write_text(json.dumps(row))
    return row, model


def main() -> None:
    """Accuracies case by case, then all times in turns."""
    options = arguments(
        __doc__,
        data="cifar10",
        epochs=5,
        seconds=20.0,
        cores="0",
        folder=str(RUNS / "channel_pruning"),
        only="",
    )
    pin(options.cores)
    torch.set_num_threads(1)
    folder = Path(options.folder) / options.data
    folder.mkdir(parents=True, exist_ok=True)
    given = samples(options.data)
    rows: list[Row] = []
    calls: dict[str, Any] = {}
    image = given[2][:1].contiguous()
    for case in (case for case in CASES if options.only in case["way"]):
        row, model = run(case, given, options.epochs, folder)
        rows.append(row)
        print(json.dumps(row), flush=True)
        key = f"{case['way']} {case['share']}"
        frozen = gs.freeze(model.requires_grad_(requires_grad=False), image)
        calls[key] = lambda frozen=frozen: frozen(image)
        if case["way"] in ("dense", "narrower") or case["way"] == "channels":
            calls[f"torch {key}"] = lambda model=model: model(image)
    with threads(1), torch.no_grad():
        times = alternate(calls, seconds=options.seconds, repeats=2000)
    for row in rows:
        key = f"{row['way']} {row['share']}"
        row["us"] = round(times[key].median * 1e6, 1)
        if f"torch {key}" in times:
            row["torch us"] = round(times[f"torch {key}"].median * 1e6, 1)
    record("channel_pruning", {"data": options.data, "epochs": options.epochs, "rows": rows})


if __name__ == "__main__":
    main()
