"""The views of ``render_results.py`` that show what an order of channels wins."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from typing import Any

from result_tables import table, view

NETWORKS = {"resnet20": "ResNet-20", "resnet56": "ResNet-56"}
WAYS = {
    "none": "as trained",
    "greedy": "greedy",
    "assigned": "assignment",
    "annealed": "annealing",
    "swaps": "swaps",
    "folded": "**swaps, folded**",
    "bound": "at most",
}


@view("permutation-kept", "permutation", "python benchmarks/permutation.py")
def permutation_kept(result: dict[str, Any]) -> str:
    """Share of the magnitude."""
    found: dict[tuple[str, str, float], dict[str, float]] = {}
    for row in result["kept"]:
        found.setdefault((row["network"], row["pattern"], row["density"]), {})[row["way"]] = row["kept"]
    ways = [way for way in WAYS if any(way in each for each in found.values())]
    rows = [
        [NETWORKS[name], pattern, f"{100 * density:g} %", *(_percent(each.get(way)) for way in ways)]
        for (name, pattern, density), each in found.items()
    ]
    return table(["network", "pattern", "left", *(WAYS[way] for way in ways)], rows)


@view("permutation-accuracy", "permutation", "python benchmarks/permutation.py")
def permutation_accuracy(result: dict[str, Any]) -> str:
    """Accuracy at once, and with recalibrated norms."""
    found: dict[tuple[str, str, float], dict[bool, dict[str, float]]] = {}
    for row in result["accuracy"]:
        found.setdefault((row["network"], row["pattern"], row["density"]), {})[row["permuted"]] = row
    rows = [
        [
            NETWORKS[name],
            pattern,
            f"{100 * density:g} %",
            *(_accuracy(each.get(permuted)) for permuted in (False, True)),
        ]
        for (name, pattern, density), each in found.items()
    ]
    dense = "".join(f"; {NETWORKS[name]} dense: {accuracy:.1f}" for name, accuracy in result["dense"].items())
    head = ["network", "pattern", "left", "as trained", "reordered"]
    return (
        f"Percent of 1000 test images, pruned / recalibrated on {result['images']} images{dense}.\n\n"
        + table(head, rows)
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _accuracy(row: dict[str, float] | None) -> str:
    return "" if row is None else f"{row['accuracy']:.1f} / {row['recalibrated']:.1f}"
