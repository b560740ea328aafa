"""Topological Insights (Liu et al. 2020) on FashionMNIST: how far sparse networks of equal accuracy are apart.

For each density: networks that start from independent topologies, and a row of networks of which each starts from the
one before with one per cent of its connections moved. All are trained by SET with one recipe, the dense network beside
them, for every seed. Said of all pairs: NNSTD at the start and at the end, and what chance gives; of the row: how its
distances grow; of one network: its distances from itself over the training. Each run lies in ``runs/`` in a run folder
of its own, which ``gossamer compare`` and ``gossamer report`` read, and goes on there when it was stopped.

    python benchmarks/topology_travel.py --epochs 200 --seeds 5
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from harness import RUNS, Row, arguments, record
from rich.progress import Progress

from gossamer.nn.sparse import SparseModule
from gossamer.runs import record as files
from gossamer.runs.config import RunConfig, read_config
from gossamer.runs.execute import record as train
from gossamer.runs.folder import begin, reopen
from gossamer.runs.loop import Loop
from gossamer.runs.moments import Moment, moments
from gossamer.topology import Topology, distance_matrix, effective, exploration, null_model

WIDTHS, BATCH, LR = (784, 784, 784), 128, 0.01
DENSITIES = (0.01, 0.05)
MOVED = 0.01  # of the connections, from one network of the row to the next


def config(density: float | None, seed: int, epochs: int) -> RunConfig:
    """SET once an epoch, or the dense network, otherwise the same."""
    steps = -(-60_000 // BATCH)
    settings: dict[str, Any] = {"pattern": "dense"}
    if density is not None:
        rule = {"name": "set", "every": steps, "drop": 0.3}
        settings = {"pattern": "unstructured", "density": density, "allocation": "uniform", "rule": rule}
    same = {"data": "fashion-mnist", "widths": WIDTHS, "dense_last": True, "batch": BATCH, "threads": 1}
    same |= {"optimizer.lr": LR, "schedule.name": "constant", "epochs": epochs, "seed": seed}
    return read_config(None, {**same, **settings})


def move(model: torch.nn.Module, times: int) -> None:
    """Move one per cent of the connections of every sparse layer, so many times; values stay in their order."""
    generator = torch.Generator().manual_seed(
        0
    )  # the first so many moves are the same in all networks of the row
    for _ in range(times):
        for layer in (module for module in model.modules() if isinstance(module, SparseModule)):
            layer.assign(moved(layer.topology, generator), layer.weights.detach().clone())


def moved(topology: Topology, generator: torch.Generator) -> Topology:
    """A topology with one per cent of its connections elsewhere."""
    count = topology.connections
    kept = torch.randperm(count, generator=generator)[: count - round(MOVED * count)].sort().values
    want = torch.tensor([count - kept.numel()])
    grown = topology.pattern.grow_random(topology.positions[kept], want, topology.grid, generator)
    return Topology(topology.pattern, topology.shape, grown)


def trained(name: str, wanted: RunConfig, shift: int) -> tuple[Row, list[Moment]]:
    """Train, go on, or read what is finished: accuracies, and the topologies of its way."""
    folder = RUNS / "topology_travel" / name
    if not (folder / files.CONFIG).is_file():
        begin(folder, wanted)
    if not (folder / files.SUMMARY).is_file():
        checked, samples = reopen(folder)
        loop = Loop(checked, samples)
        move(loop.model, shift)
        with Progress(disable=True) as progress:
            train(folder, loop, progress)
    summary = files.read_run(folder).summary
    assert summary is not None
    travel = moments(folder)
    print(f"{name}: {100 * summary.accuracy:.2f} % (best {100 * summary.best.accuracy:.2f} %)", flush=True)
    return {"run": name, "accuracy": summary.accuracy, "best": summary.best.accuracy}, travel


def networks(density: float, epochs: int, seeds: int) -> tuple[list[Row], list[list[Moment]]]:
    """Independent ones, then the row, whose first is the first of the independent ones."""
    cases = [(seed, 0) for seed in range(seeds)] + [(0, shift) for shift in range(1, seeds)]
    rows, travels = [], []
    for seed, shift in cases:
        name = f"{epochs}-{density}-seed{seed}" + (f"-moved{shift}" if shift else "")
        row, travel = trained(name, config(density, seed, epochs), shift)
        whole = effective(travel[-1].layers)
        rows.append(
            row
            | {"seed": seed, "moved_percent": shift * 100 * MOVED}
            | {"effective_density": whole.density, "explored": exploration([m.layers for m in travel])[-1]}
        )
        travels.append(travel)
    return rows, travels


def case(density: float, epochs: int, seeds: int) -> Row:
    """All that is said of one density."""
    rows, travels = networks(density, epochs, seeds)
    first = travels[0]
    random = [
        null_model(each[-1].layers, torch.Generator().manual_seed(n)) for n, each in enumerate(travels[:2])
    ]
    ways = [travel for row, travel in zip(rows, travels, strict=True) if row["seed"] == 0]
    return {
        "density": density,
        "networks": rows,
        "by_chance": distance_matrix(random)[0, 1].item() if len(random) > 1 else None,
        "steps": [moment.step for moment in first],
        "start": distance_matrix([travel[0].layers for travel in travels]).tolist(),
        "end": distance_matrix([travel[-1].layers for travel in travels]).tolist(),
        "row": [distance_matrix([way[at].layers for way in ways])[0].tolist() for at in range(len(first))],
        "travel": distance_matrix([moment.layers for moment in first]).tolist(),
        "accuracies": [moment.accuracy for moment in first],
    }


def main() -> None:
    """Dense networks, then all of each density."""
    options = arguments(__doc__ or "", epochs=4, seeds=2, out="")
    torch.set_num_threads(1)
    dense = [
        trained(f"{options.epochs}-dense-seed{seed}", config(None, seed, options.epochs), 0)[0]
        for seed in range(options.seeds)
    ]
    result = {
        "epochs": options.epochs,
        "widths": WIDTHS,
        "batch": BATCH,
        "lr": LR,
        "moved": MOVED,
        "dense": dense,
        "densities": [case(density, options.epochs, options.seeds) for density in DENSITIES],
    }
    record("topology_travel", result, *([Path(options.out)] if options.out else []))


if __name__ == "__main__":
    main()
