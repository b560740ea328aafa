"""A trained 784-300-100-10 on MNIST, pruned to a tenth of its weights: at once, and after two more epochs.

Three seeds. Beside ours, in the same run, global magnitude pruning by torch of the same network, fine-tuned alike.
"""

from __future__ import annotations

import copy
from statistics import mean
from typing import Any

import torch
from harness import Row, arguments, record, remembered
from torch import nn
from torch.nn.utils import prune
from training import Data, Recipe, mlp, mnist, test_error, train

import gossamer as gs

WIDTHS = (784, 300, 100, 10)
DENSITY = 0.1
FORMS: dict[str, dict[str, Any]] = {
    "random, single": {"score": "random"},
    "single": {},
    "single, over all layers": {"allocation": "global"},
    "single, LAMP": {"score": "lamp"},
    "fan-in": {"pattern": "fanin"},
    "fan-in in groups of 4": {"pattern": "fanin:4", "dense_last": True},
    "blocks of 4": {"pattern": "block:4", "dense_last": True},
}


def tuned(model: nn.Module, samples: Data, epochs: int, seed: int) -> float:
    """Accuracy after some more epochs at a tenth of the learning rate."""
    recipe = Recipe(epochs=epochs, lr=0.02, divide_at=(len(samples[0]) // 100,))
    train(model, samples, recipe, None, seed + 100, say=lambda _: None)
    return 100 - test_error(model.eval(), *samples[2:])


def theirs(model: nn.Module) -> nn.Module:
    """Torch's global magnitude pruning: dense weights and masks."""
    layers = [(m, "weight") for m in model.modules() if isinstance(m, nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=1 - DENSITY)
    model(torch.zeros(1, WIDTHS[0]))  # the masks act from the next pass on
    return model


def one_seed(seed: int, samples: Data, epochs: int) -> Row:
    """All forms of one trained network."""
    torch.manual_seed(seed)
    dense = mlp(*WIDTHS)
    train(dense, samples, Recipe(epochs=epochs, lr=0.1, divide_at=(300 * epochs, 450 * epochs)), None, seed)
    rows: Row = {"dense": {"at once": 100 - test_error(dense.eval(), *samples[2:])}}
    pruned = {name: copy.deepcopy(dense) for name in FORMS}
    for name, settings in FORMS.items():
        gs.prune(pruned[name], DENSITY, generator=torch.Generator().manual_seed(seed), **settings)
    for name, model in {**pruned, "torch, over all layers": theirs(copy.deepcopy(dense))}.items():
        at_once = 100 - test_error(model.eval(), *samples[2:])
        rows[name] = {"at once": at_once, "two epochs later": tuned(model.train(), samples, 2, seed)}
        print(seed, name, rows[name], flush=True)
    return rows


def main() -> None:
    """Every seed, and the means."""
    given = arguments(__doc__, epochs=10, seeds=3)
    torch.set_num_threads(1)
    samples = mnist()
    runs = [
        remembered("prune_mnist", f"{seed} {given.epochs}", lambda s=seed: one_seed(s, samples, given.epochs))
        for seed in range(given.seeds)
    ]
    rows = [
        {"form": name, **{what: round(mean(run[name][what] for run in runs), 2) for what in runs[0][name]}}
        for name in runs[0]
    ]
    record(
        "prune_mnist",
        {
            "network": "784-300-100-10",
            "epochs": given.epochs,
            "density": DENSITY,
            "seeds": given.seeds,
            "rows": rows,
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
