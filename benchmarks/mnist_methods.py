"""Static, SET, RigL and SRigL on MNIST at 98 % sparsity, N:M 1:8 against RigL at its density; several seeds."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import torch
from harness import arguments, record, remembered
from training import Recipe, mlp, mnist, train

import gossamer as gs

WIDTHS = (784, 304, 96, 10)  # LeNet-300-100 rounded to multiples of 8, so that N:M 1:8 divides every layer
METHODS: dict[str, tuple[Any, float | None, Any]] = {
    "static 98 %": (gs.Unstructured(), 0.02, gs.Static()),
    "SET 98 %": (gs.Unstructured(), 0.02, gs.SET(every=600)),
    "RigL 98 %": (gs.Unstructured(), 0.02, gs.RigL()),
    "SRigL 98 %": (gs.FanIn(), 0.02, gs.SRigL()),
    "SRigL gamma 0.9 98 %": (gs.FanIn(), 0.02, gs.SRigL(gamma=0.9)),
    "SRigL without ablation 98 %": (gs.FanIn(), 0.02, gs.SRigL(gamma=None)),
    "RigL 87.5 %": (gs.Unstructured(), 0.125, gs.RigL()),
    "SRigL N:M 1:8 87.5 %": (gs.NM(1, 8), 0.125, gs.SRigL(gamma=None)),
    "dense": (None, None, None),
}


def run(method: str, epochs: int, seed: int) -> dict[str, Any]:
    """Train one network; every method sees the same data order for a seed."""
    pattern, density, rule = METHODS[method]
    torch.manual_seed(seed)
    model = mlp(*WIDTHS)
    generator = torch.Generator().manual_seed(seed)
    connections = sum(WIDTHS[i] * WIDTHS[i + 1] for i in range(3))
    if pattern is not None:
        allocation = "uniform" if isinstance(pattern, gs.NM) or density == 0.125 else "erk"
        connections = gs.sparsify(model, density, pattern, allocation, generator=generator).connections
    thirds = (epochs // 2, epochs * 3 // 4)
    result = train(
        model, mnist(), Recipe(epochs, lr=0.1, divide_at=thirds, divisor=5), rule, seed, say=lambda _: None
    )
    print(
        f"{method:<28} seed {seed}: {result['test_error_end']:.2f} % ({result['seconds']:.0f} s)", flush=True
    )
    return {key: value for key, value in result.items() if key != "test_error"} | {"connections": connections}


def main() -> None:
    """Every method with every seed; the table has mean and standard deviation of the last epoch's test error."""
    options = arguments(__doc__, epochs=25, seeds=5, threads=1)
    torch.set_num_threads(options.threads)
    table: dict[str, Any] = {method: {"runs": []} for method in METHODS}
    for seed in range(options.seeds):  # seed by seed, so that an interrupted benchmark has whole rows
        for method in METHODS:
            key = f"{method}, seed {seed}, {options.epochs} epochs"
            table[method]["runs"].append(
                remembered("mnist_methods", key, lambda m=method, s=seed: run(m, options.epochs, s))
            )
    for method, row in table.items():
        ends = [one["test_error_end"] for one in row["runs"]]
        row["test_error_mean"] = round(mean(ends), 3)
        row["test_error_std"] = round(stdev(ends), 3) if len(ends) > 1 else None
        row["connections"] = row["runs"][0]["connections"]
        print(f"{method:<28} {row['test_error_mean']:.2f} +- {row['test_error_std']} %")
    record("mnist_methods", {"epochs": options.epochs, "widths": WIDTHS, "methods": table})


if __name__ == "__main__":
    main()
