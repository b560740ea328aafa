"""Trained ResNets on CIFAR-10 pruned, fine-tuned with the dense network as teacher, quantized and frozen, by recipes.

Densities of 20, 10 and 5 %; single connections, rows, groups of rows with and without a better order, and blocks. Each
case is a recipe of ``gossamer compress`` in a folder of its own, so that a killed run goes on where it was, and a table
of its stages is in ``report.html`` there. The frozen network is then timed beside dense engines in turns, one thread.
The checkpoints are ``models/resnet20_cifar10.th`` and ``models/resnet56_cifar10.th`` of GOSSAMER_DATA.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import RUNS, Row, arguments, gather, pin, record, shared_file
from network_rivals import NAMES, rivals
from rich.console import Console

import gossamer as gs
from gossamer import models
from gossamer.measure import alternate, threads
from gossamer.recipes import begin, reopen, run
from gossamer.recipes.recipe import checked_recipe
from gossamer.recipes.work import load_weights
from gossamer.report.compression import write_compression
from gossamer.runs.progress import progress_bar

FORMS: dict[str, Row] = {
    "single": {"pattern": "unstructured"},
    "rows": {"pattern": "fanin"},
    "groups of 4": {"pattern": "fanin:4"},
    "groups of 4, reordered": {"pattern": "fanin:4", "permute": True},
    "groups of 8, reordered": {"pattern": "fanin:8", "permute": True},
    "blocks of 4": {"pattern": "block:4"},
}
ENDS = ("dense_first", "dense_last")


def recipe(case: Row, data: str) -> Any:
    """Half of the way first, where much has to go; then the rest, and twice as many epochs."""
    form, density, epochs = FORMS[case["form"]], case["density"], case["epochs"]
    prune = {"kind": "prune", **dict.fromkeys(ENDS, True), "recalibrate": 50, **form}
    train = {"kind": "train", "distill": {"alpha": 0.9}, "batch": 128}
    rate = {"lr": 0.05, "nesterov": True, "weight_decay": 1e-4}
    way = [(max(density, 0.3), epochs - epochs * 2 // 3), (density, epochs * 2 // 3)]
    stages: list[Row] = []
    for left, length in way:
        stages += [prune | {"density": left}, train | {"epochs": max(1, length), "optimizer": rate}]
        prune = {name: value for name, value in prune.items() if name not in ("pattern", "permute")}
    stages.append({"kind": "freeze", "values": case["values"]})
    weights = str(shared_file(f"models/{case['network']}_cifar10.th"))
    model = {"name": case["network"]}
    return checked_recipe(
        {
            "data": data,
            "weights": weights,
            "model": model,
            "augment": "standard",
            "threads": 1,
            "stage": stages,
        },
        "compress_resnet",
    )


def measured(case: Row, *, data: str, folder: Path, seconds: float) -> Row:
    """One case: the rows of its recipe, and times of one image."""
    name = "-".join(str(value) for value in case.values()).replace(" ", "_").replace(",", "")
    place = folder / name
    if not place.exists():
        begin(place, recipe(case, data))
    wanted = reopen(place)
    with progress_bar(Console(stderr=True), quiet=False) as progress:
        rows = run(
            place, wanted, progress, lambda row: print(name, row["stage"], row["accuracy"], flush=True)
        )
    write_compression(place)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    frozen = gs.load(place / f"{len(rows) - 1}-freeze" / "net.safetensors")
    with threads(1), torch.inference_mode():
        calls = {"gossamer": partial(frozen, x), **rivals(partial(dense, case["network"]), x, set(NAMES))}
        times = alternate(calls, seconds=seconds)
    kept = ("stage", "accuracy", "connections", "density", "bytes", "seconds")
    return {
        "stages": [{key: row[key] for key in kept} for row in rows],
        "times": {engine: timing.median for engine, timing in times.items()},
    }


def dense(name: str) -> Any:
    """The trained network."""
    model = models.models[name](channels=3, classes=10)
    load_weights(model, shared_file(f"models/{name}_cifar10.th"))
    return model.eval()


def main() -> None:
    """Every case that is not known yet."""
    options = arguments(
        __doc__ or "",
        networks="resnet20,resnet56",
        densities="0.2,0.1,0.05",
        forms=";".join(FORMS),
        epochs=6,
        data="cifar10",
        values="exact",
        seconds=5.0,
        folder=str(RUNS / "compress_resnet"),
        cores="0",
        name="compress_resnet",
        fresh=False,
    )
    pin(options.cores)
    cases = [
        {
            "network": network,
            "density": density,
            "form": form,
            "epochs": options.epochs,
            "values": options.values,
        }
        for network in options.networks.split(",")
        for density in map(float, options.densities.split(","))
        for form in options.forms.split(";")
    ]
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    measure = partial(measured, data=options.data, folder=folder, seconds=options.seconds)
    rows = gather(options.name, cases, measure, fresh=options.fresh)
    record(options.name, {"data": options.data, "rows": rows})


if __name__ == "__main__":
    main()
