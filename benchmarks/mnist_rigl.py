"""RigL's MNIST experiment: LeNet-300-100 at 99 % / 89 % / dense, 200 epochs (Evci et al. 2020, appendix B)."""

from __future__ import annotations

from statistics import mean
from typing import Any

import torch
from harness import arguments, record, remembered
from torch import Tensor
from training import Recipe, mlp, mnist, train

import gossamer as gs
from gossamer.topology import Topology

DENSITY = {"0": 1 - 0.99, "2": 1 - 0.89}
LAST_UPDATE = 50_000 / 120_000  # of the training steps, as in the authors' script


def pixel_map(topology: Topology) -> Tensor:
    """[28, 28]: connections that leave each input pixel."""
    return topology.fan_out().view(28, 28)


def central_share(counts: Tensor) -> float:
    """Share of the first layer's connections inside the central 20 x 20 box."""
    return round(float(counts[4:24, 4:24].sum() / counts.sum()), 4)


def live_architecture(masks: list[Tensor]) -> tuple[list[int], int, int]:
    """Units with a way in and a way out, found by iterating to a fixed point; remaining positions and connections."""
    live = [torch.ones(mask.shape[1], dtype=torch.bool) for mask in masks] + [
        torch.ones(len(masks[-1]), dtype=torch.bool)
    ]
    while True:
        before = [units.clone() for units in live]
        for number, mask in enumerate(masks):
            alive = mask & live[number + 1].unsqueeze(1) & live[number].unsqueeze(0)
            live[number] &= alive.any(0)
            if number + 1 < len(masks):
                live[number + 1] &= alive.any(1)
        if all(torch.equal(a, b) for a, b in zip(before, live, strict=True)):
            break
    kept = [mask[live[n + 1]][:, live[n]] for n, mask in enumerate(masks)]
    return [int(units.sum()) for units in live], sum(m.numel() for m in kept), sum(int(m.sum()) for m in kept)


def sparse(epochs: int, seed: int, rule: Any, init: str = "sparse") -> dict[str, Any]:
    """One sparse run with everything the experiment reports."""
    torch.manual_seed(seed)
    model = mlp(784, 300, 100, 10)
    generator = torch.Generator().manual_seed(seed)
    gs.sparsify(model, DENSITY, gs.Unstructured(), dense_last=True, generator=generator, init=init)
    start = pixel_map(model[0].topology)
    result = train(model, mnist(), Recipe(epochs, divide_at=(75, 95)), rule, seed)
    end = pixel_map(model[0].topology)
    masks = [model[0].topology.mask(), model[2].topology.mask(), torch.ones(10, 100, dtype=torch.bool)]
    units, positions, connections = live_architecture(masks)
    return {
        **result,
        "connections": [int(mask.sum()) for mask in masks],
        "central_share_start": central_share(start),
        "central_share_end": central_share(end),
        "pixels_start": start.tolist(),
        "pixels_end": end.tolist(),
        "live_architecture": units,
        "live_sparsity": round(1 - connections / positions, 4),
        "live_bytes": positions // 8 + 4 * connections,
    }


def dense(epochs: int, seed: int) -> dict[str, Any]:
    """The dense network under the authors' schedule for it."""
    torch.manual_seed(seed)
    return train(mlp(784, 300, 100, 10), mnist(), Recipe(epochs, divide_at=(60, 70, 80)), None, seed)


def main() -> None:
    """Dense, static and RigL; the paper has 1.44 best and 1.48 end for RigL, 408-100-69 and 31,914 bytes."""
    options = arguments(__doc__, epochs=200, seeds=3, threads=1)
    torch.set_num_threads(options.threads)
    rigl, static = gs.RigL(every=100, drop=0.3, until=LAST_UPDATE), gs.Static()
    makers: dict[str, Any] = {
        "rigl": lambda seed: sparse(options.epochs, seed, rigl),
        "rigl, values drawn for the dense fan-in": lambda seed: sparse(options.epochs, seed, rigl, "dense"),
        "static": lambda seed: sparse(options.epochs, seed, static),
        "dense": lambda seed: dense(options.epochs, seed),
    }
    runs: dict[str, Any] = {}
    for name, make in makers.items():
        print(name, flush=True)
        seeds = [
            remembered(
                "mnist_rigl",
                f"{name}, seed {seed}, {options.epochs} epochs",
                lambda m=make, s=seed: m(s),
            )
            for seed in range(options.seeds)
        ]
        ends = {
            key: round(mean(run[key] for run in seeds), 3) for key in ("test_error_best", "test_error_end")
        }
        runs[name] = {**ends, "seeds": seeds}
        print(name, ends, flush=True)
    paper = {
        "test_error_best": 1.44,
        "test_error_end": 1.48,
        "live_architecture": [408, 100, 69],
        "live_bytes": 31914,
    }
    record("mnist_rigl", {"epochs": options.epochs, "runs": runs, "paper_rigl": paper})


if __name__ == "__main__":
    main()
