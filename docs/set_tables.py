"""The views and the picture of ``render_results.py`` that show SET with All-ReLU on its published networks."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from itertools import groupby
from typing import Any

from drawing import GROWN, INK, KEPT, LINE, SOFT, Drawing
from result_tables import table, view

SOURCE, COMMAND = "set_mlp", "python benchmarks/set_mlp.py --prune published"
NAMES = {"fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10, not augmented", "madelon": "Madelon"}
ACTIVATIONS = {"all-relu": "All-ReLU", "relu": "ReLU"}
PUBLISHED = {  # best of 500 epochs in independent replications
    ("fashion-mnist", "all-relu"): "91.0-91.2",
    ("fashion-mnist", "relu"): "90.5-91.0",
    ("cifar10", "all-relu"): "62.2-62.3",
    ("cifar10", "relu"): "59.8",
    ("madelon", "all-relu"): "67.5-68.2",
    ("madelon", "relu"): "64.7-67.7",
}


def kind(run: dict[str, Any]) -> tuple[str, str]:
    """What runs of several seeds have in common."""
    return run["data"], run["activation"]


def spread(numbers: list[float]) -> str:
    """One number, or the least and the most."""
    least, most = min(numbers), max(numbers)
    return f"{least:.1f}" if least == most else f"{least:.1f}-{most:.1f}"


def after(runs: list[dict[str, Any]], epoch: str) -> str:
    """Accuracy after an epoch that every run has reached."""
    if not all(epoch in run["after_epoch"] for run in runs):
        return "—"
    return spread([run["after_epoch"][epoch] for run in runs])


@view("set-mlp", SOURCE, COMMAND)
def set_mlp(result: dict[str, Any]) -> str:
    """Accuracy after some epochs and the best, beside what others report."""
    rows = []
    for (data, activation), group in groupby(sorted(result["runs"], key=kind), kind):
        runs = list(group)
        first, last = zip(*(run["connections"] for run in runs), strict=True)
        rows.append(
            [
                f"{NAMES[data]}, {ACTIVATIONS[activation]}",
                len(runs),
                spread([run["trained"] for run in runs]).replace(".0", ""),
                *(after(runs, epoch) for epoch in ("1", "10", "100")),
                spread([run["best"] for run in runs]),
                spread([run["last"] for run in runs]),
                PUBLISHED[data, activation],
                f"{max(first):,} to {min(last):,}",
            ]
        )
    head = [
        *("network", "seeds", "epochs", "after 1", "10", "100", "best", "last", "best elsewhere, 500 epochs"),
        "connections, start to end",
    ]
    return f"Per cent of the test set.\n\n{table(head, rows)}"


@view("set-epoch", "set_epoch", "python benchmarks/set_epoch.py")
def set_epoch(result: dict[str, Any]) -> str:
    """Seconds of an epoch of every contender, and where ours go."""
    rows = [
        [name, f"{seconds:.2f}", f"{result['times_sparse'][name]:.1f}x"]
        for name, seconds in result["median"].items()
    ]
    parts = [[name, f"{seconds:.2f}"] for name, seconds in result["parts"].items()]
    return (
        f"{table(['network', 'seconds', 'of the sparse epoch'], rows)}\n\n"
        f"The parts of a sparse epoch, measured apart:\n\n{table(['part', 'seconds'], parts)}"
    )


@view("set-curves-picture", SOURCE, COMMAND)
def curves_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Test accuracy by epoch of SET with All-ReLU and ReLU](ASSETS/set-curves.svg)"


def curves(result: dict[str, Any]) -> Drawing:
    """Accuracy by epoch, one panel a data set, the first seed of each activation."""
    picture = Drawing(860, 300, "Test accuracy by epoch of SET with All-ReLU and ReLU")
    runs = [run for run in result["runs"] if run["seed"] == 0]
    for panel, (data, name) in enumerate(NAMES.items()):
        shown = [run for run in runs if run["data"] == data]
        if not shown:
            continue
        left, top, width, height = 60 + 275 * panel, 50, 215, 200
        most = max(max(run["accuracy"]) for run in shown)
        least, epochs = most - 12, max(run["trained"] for run in shown)
        picture.heading(left, 28, name)
        for line in range(4):
            y = top + height * line / 3
            picture.text(left - 8, y + 4, f"{most - 4 * line:.0f}", SOFT, "end", 11)
            picture.bar(left, y, width, 0.5, LINE)
        for colour, run in zip((KEPT, GROWN), sorted(shown, key=kind), strict=False):
            points = [
                (left + width * i / epochs, top + height * (most - value) / 12)
                for i, value in enumerate(run["accuracy"])
                if value >= least
            ]
            picture.line(points, colour)
        picture.text(left + width, top + height + 20, f"{epochs} epochs", INK, "end", 11)
    for place, (activation, colour) in enumerate(zip(ACTIVATIONS.values(), (KEPT, GROWN), strict=True)):
        picture.text(60 + 90 * place, 290, activation, colour, size=12)
    return picture
