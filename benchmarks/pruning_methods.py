"""Ways to a sparse MLP on FashionMNIST: pruned at initialisation, while training, or grown; densities and seeds.

784-300-100-10, every linear layer sparse, single connections. Every run of a seed has the same initial dense weights
where it starts from them, the same order of images and the same course of the learning rate. Pruned at initialisation
means: scored once before training, then trained with the zeros in place; scores of all layers are ranked together,
those of "magnitude erk" within layers of the densities that ERK gives. A pruning that would leave a layer without
connections is refused, and noted. Runs that are finished are kept, and a benchmark that was killed goes on behind the
last of them.
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import torch
from harness import Row, arguments, gather, record
from torch import nn
from training import Data, Recipe, mlp, train

import gossamer as gs
from gossamer import data
from gossamer.errors import DensityError
from gossamer.rules import Rule, describe

WIDTHS = (784, 300, 100, 10)
ZEROS = (90, 95, 98)  # per cent
PER_CLASS = 10  # images of each class that a score looks at
SPARE = 0.2  # of SNFS: layers are built with so much more than they use
AT_START = ("random", "magnitude", "magnitude erk", "snip", "grasp", "synflow")
WHILE_TRAINING = ("gmp", "granet", "acdc", "rigl", "snfs")
METHODS = ("dense", *AT_START, *WHILE_TRAINING)


def fashion(name: str) -> Data:
    """Images scaled to zero mean and unit deviation."""
    return data.load(name).tensors()


def scored(samples: Data, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One batch with as many images of every class."""
    x, y, *_ = samples
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([order[y[order] == label][:PER_CLASS] for label in range(WIDTHS[-1])])
    mixed = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))]
    return [(x[mixed], y[mixed])]


def rule_of(method: str, share: float, total: int) -> Rule:
    """A rule that updates about sixty times in the first three quarters."""
    every = max(1, total // 80)
    match method:
        case "gmp":
            return gs.GradualMagnitude(every=every, drop=share, scope="global")
        case "granet":
            return gs.GraNet(every=every, drop=share)
        case "acdc":
            return gs.ACDC(every=max(1, total // 20), begin=max(1, total // 10), drop=share)
        case "rigl":
            return gs.RigL(every=every)
        case "snfs":
            return gs.SNFS(every=every, spare=SPARE)
    return gs.Static()


def made(method: str, zeros: int, seed: int, samples: Data) -> nn.Sequential:
    """The network before training."""
    torch.manual_seed(seed)
    model, draw = mlp(*WIDTHS), torch.Generator().manual_seed(seed)
    density = 1 - zeros / 100
    if method in AT_START:
        look = scored(samples, seed)
        score, _, allocation = method.partition(" ")
        gs.prune(model, density, score=score, allocation=allocation or "global", data=look, generator=draw)
    elif method in ("gmp", "granet", "acdc"):  # most of the way dense: faster masked, and the same
        settings: dict[str, Any] = {"full": "sparse", "init": "keep", "home": "masked"}
        gs.sparsify(model, 1.0, gs.Unstructured(), generator=draw, **settings)
    elif method != "dense":
        built = density / (1 - SPARE) if method == "snfs" else density
        gs.sparsify(model, built, gs.Unstructured(), generator=draw)
    return model


def run(case: Row, epochs: int, samples: Data) -> Row:
    """Train one network; what is measured of it."""
    method, zeros, seed = case["method"], case["zeros"], case["seed"]
    recipe = Recipe(epochs, lr=0.1, divide_at=(epochs // 2, epochs * 3 // 4), divisor=5, weight_decay=5e-4)
    try:
        model = made(method, zeros, seed, samples)
    except DensityError as error:
        return {"accuracy": None, "connections": None, "refused": str(error)}
    total = epochs * (len(samples[0]) // recipe.batch)
    rule = None if method == "dense" else rule_of(method, zeros / 100, total)
    found = train(model, samples, recipe, rule, seed, say=lambda _: None)
    weights = [layer for layer in model if hasattr(layer, "weight")]
    layers = [int(getattr(layer, "connections", layer.weight.numel())) for layer in weights]
    return {
        "accuracy": round(100 - found["test_error_end"], 2),
        "connections": sum(layers),
        "layers": layers,
        "seconds": found["seconds"],
        "rule": None if rule is None else describe(rule),
    }


def table(rows: list[Row]) -> list[Row]:
    """Mean and deviation over seeds, a row for every method and share of zeros."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["zeros"]), []).append(row)
    found = []
    for (method, zeros), runs in groups.items():
        ends = [one["accuracy"] for one in runs if one["accuracy"] is not None]
        spread = round(stdev(ends), 3) if len(ends) > 1 else None
        about = {"method": method, "zeros": zeros, "seeds": len(ends), "refused": len(runs) - len(ends)}
        middle = round(mean(ends), 3) if ends else None
        connections = max((one["connections"] for one in runs if one["connections"]), default=None)
        found.append({**about, "connections": connections, "mean": middle, "deviation": spread})
    return sorted(found, key=lambda row: (METHODS.index(row["method"]), row["zeros"]))


def main() -> None:
    """Seed by seed, so that an interrupted benchmark has whole rows."""
    options = arguments(
        __doc__, epochs=10, seeds=5, seed=0, threads=1, data="fashion-mnist", only="", fresh=False
    )
    torch.set_num_threads(options.threads)
    samples = fashion(options.data)
    cases = [
        {"method": method, "zeros": zeros, "seed": seed, "epochs": options.epochs, "data": options.data}
        for seed in range(options.seed, options.seed + options.seeds)
        for zeros in ZEROS
        for method in METHODS
        if options.only in method and (method != "dense" or zeros == ZEROS[0])
    ]
    cases = [case | ({"zeros": 0} if case["method"] == "dense" else {}) for case in cases]
    rows = gather(
        "pruning_methods", cases, lambda case: run(case, options.epochs, samples), fresh=options.fresh
    )
    rows = [row for row in rows if (row["epochs"], row["data"]) == (options.epochs, options.data)]
    for row in table(rows):
        print(
            f"{row['method']:<14} {row['zeros']:>3} %  {row['mean']} +- {row['deviation']}, {row['refused']} refused"
        )
    recipe = {
        "batch": 100,
        "rate": 0.1,
        "weight_decay": 5e-4,
        "momentum": "0.9, Nesterov",
        "per_class": PER_CLASS,
    }
    record(
        "pruning_methods",
        {
            "data": options.data,
            "epochs": options.epochs,
            "widths": WIDTHS,
            "recipe": recipe,
            "table": table(rows),
            "runs": rows,
        },
    )


if __name__ == "__main__":
    main()
