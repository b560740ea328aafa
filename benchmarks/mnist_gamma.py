"""SRigL's ablation threshold gamma on MNIST at 98 % sparsity, checked on held-out training samples; several seeds."""

from __future__ import annotations

from statistics import mean
from typing import Any

import torch
from harness import arguments, record, remembered
from mnist_methods import WIDTHS
from training import Recipe, mlp, mnist, train

import gossamer as gs

GAMMAS = (None, 0.3, 0.6, 0.9)
HELD_OUT = 10_000  # of the 60,000 training samples; the test samples are not looked at


def run(gamma: float | None, epochs: int, seed: int) -> dict[str, Any]:
    """One network trained on what is not held out: error on what is, and the neurons that are left."""
    x, y, _, _ = mnist()
    samples = x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT]
    torch.manual_seed(seed)
    model = mlp(*WIDTHS)
    gs.sparsify(model, 0.02, gs.FanIn(), "erk", generator=torch.Generator().manual_seed(seed))
    recipe = Recipe(epochs, lr=0.1, divide_at=(epochs // 2, epochs * 3 // 4), divisor=5)
    result = train(model, samples, recipe, gs.SRigL(gamma=gamma), seed, say=lambda _: None)
    layers = [layer.topology for layer in model if hasattr(layer, "topology")]
    active = [int((topology.fan_in() > 0).sum()) for topology in layers]
    print(f"gamma {gamma} seed {seed}: {result['test_error_end']:.2f} %, {active} neurons", flush=True)
    return {"held_out_error": result["test_error_end"], "active_neurons": active}


def main() -> None:
    """Mean held-out error of the last epoch for each gamma; None is SRigL without ablation."""
    options = arguments(__doc__, epochs=25, seeds=2, threads=1)
    torch.set_num_threads(options.threads)
    table: dict[str, Any] = {}
    for gamma in GAMMAS:
        runs = [
            remembered(
                "mnist_gamma",
                f"gamma {gamma}, seed {seed}, {options.epochs} epochs",
                lambda g=gamma, s=seed: run(g, options.epochs, s),
            )
            for seed in range(options.seeds)
        ]
        table[str(gamma)] = {
            "held_out_error_mean": round(mean(r["held_out_error"] for r in runs), 3),
            "runs": runs,
        }
    record("mnist_gamma", {"epochs": options.epochs, "widths": WIDTHS, "gammas": table})


if __name__ == "__main__":
    main()
