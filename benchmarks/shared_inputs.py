"""What coarse units cost in accuracy: neurons that share their inputs, and whole blocks, against single connections.

RigL from scratch in packed layers, the same data in the same order for every pattern; both hidden layers have the
stated share of zeros, the last layer is dense. Inputs that a block does not divide are filled up with zeros. Runs that
are finished are kept, so a killed benchmark goes on; a data set that is not on this machine is left out, and the JSON
says so.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import exp, log
from statistics import mean, stdev
from typing import Any

import torch
from harness import arguments, known, record, remembered
from torch.nn import functional as F
from training import Data, Recipe, mlp, train

import gossamer as gs
from gossamer import data
from gossamer.errors import GossamerError
from gossamer.patterns import parse

HIDDEN, CLASSES = 1024, 10
UNITS = ("unstructured", "fanin:16", "fanin:32", "block:16:32")
SPARSITIES = (80.0, 90.0, 95.0)
FINER = (97.5,)  # of single connections alone: what coarser units are equal to
SETS = {"fashion-mnist": 784, "cifar10": 3072}


@cache
def samples(name: str) -> Data:
    """Standardized pixels and labels; what is not on this machine raises."""
    return data.load(name, download=False).tensors()


def run(name: str, pattern: str, sparsity: float, epochs: int, seed: int) -> dict[str, Any]:
    """Train one network."""
    x_train, y_train, x_test, y_test = samples(name)
    width = parse(pattern).unit[1] if pattern != "dense" else 1
    more = -SETS[name] % width
    torch.manual_seed(seed)
    model = mlp(SETS[name] + more, HIDDEN, HIDDEN, CLASSES)
    rule = None
    if pattern != "dense":
        draw = torch.Generator().manual_seed(seed)
        gs.sparsify(model, 1 - sparsity / 100, pattern, "uniform", dense_last=True, generator=draw)
        rule = gs.RigL(every=100)
    recipe = Recipe(epochs, batch=128, lr=0.05, divide_at=(epochs * 3 // 5, epochs * 4 // 5), divisor=5)
    padded = (F.pad(x_train, (0, more)), y_train, F.pad(x_test, (0, more)), y_test)
    result = train(model, padded, recipe, rule, seed, say=lambda _: None)
    kept = [int(getattr(layer, "connections", layer.weight.numel())) for layer in (model[0], model[2])]
    return {
        "accuracy": round(100 - result["test_error_end"], 2),
        "connections": kept,
        "filled_up": more,
        "updates": result["updates"],
        "seconds": result["seconds"],
    }


def cases() -> list[tuple[str, float]]:
    """(pattern, per cent of zeros)."""
    sparse = [(unit, share) for share in SPARSITIES for unit in UNITS]
    return [("dense", 0.0), *sparse, *((UNITS[0], share) for share in FINER)]


def equal_density(curve: dict[float, float], accuracy: float) -> float | None:
    """Density at which single connections reach an accuracy, between the measured ones, along their logarithm."""
    points = sorted((log(density), reached) for density, reached in curve.items())
    for (left, low), (right, high) in pairwise(points):
        if min(low, high) <= accuracy <= max(low, high) and low != high:
            return round(exp(left + (right - left) * (accuracy - low) / (high - low)), 4)
    return None


def summary(name: str, epochs: int, seeds: int) -> list[dict[str, Any]]:
    """Of every case with all seeds: mean, spread, and the density of single connections that equals it."""
    finished, rows = known("shared_inputs"), []
    for pattern, sparsity in cases():
        keys = [key_of(name, pattern, sparsity, epochs, seed) for seed in range(seeds)]
        if not all(key in finished for key in keys):
            continue
        reached = [finished[key]["accuracy"] for key in keys]
        row = {"pattern": pattern, "sparsity": sparsity, "accuracy": round(mean(reached), 2)}
        row |= {"spread": round(stdev(reached), 2) if seeds > 1 else None, "seeds": reached}
        rows.append(row | {"connections": finished[keys[0]]["connections"]})
    curve = {1 - row["sparsity"] / 100: row["accuracy"] for row in rows if row["pattern"] == UNITS[0]}
    for row in rows:
        if row["pattern"] not in ("dense", UNITS[0]):
            row["equal_to_unstructured_of_density"] = equal_density(curve, row["accuracy"])
    return rows


def key_of(name: str, pattern: str, sparsity: float, epochs: int, seed: int) -> str:
    """Names a run."""
    return f"{name} {pattern} {sparsity:g} % {epochs} epochs seed {seed}"


def main() -> None:
    """Seed by seed, so that an interrupted benchmark has whole rows."""
    options = arguments(__doc__, epochs=5, seeds=3, threads=1, sets=",".join(SETS))
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    for name in options.sets.split(","):
        try:
            samples(name)
        except GossamerError as error:
            found[name] = {"left_out": str(error).splitlines()[0]}
            continue
        for seed in range(options.seeds):
            for pattern, sparsity in cases():
                key = key_of(name, pattern, sparsity, options.epochs, seed)
                work = (name, pattern, sparsity, options.epochs, seed)
                result = remembered("shared_inputs", key, lambda work=work: run(*work))
                print(f"{key}: {result['accuracy']:.2f} % ({result['seconds']:.0f} s)", flush=True)
        found[name] = {"inputs": SETS[name], "rows": summary(name, options.epochs, options.seeds)}
    record(
        "shared_inputs", {"hidden": [HIDDEN, HIDDEN], "epochs": options.epochs, "rule": "RigL", "sets": found}
    )


if __name__ == "__main__":
    main()
