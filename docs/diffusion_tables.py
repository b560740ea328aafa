"""The views of ``render_results.py`` that show diffusion convolution, and their pictures."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

import math
from typing import Any

from drawing import DROPPED, GROWN, INK, KEPT, LINE, SOFT, Drawing
from result_tables import size, table, view

SOURCE, COMMAND = "diffusion", "python benchmarks/diffusion.py"
NAMES = {"cora": "Cora", "citeseer": "CiteSeer"}
SPLITS = {"thirds": "random thirds", "fixed": "fixed"}
COLOURS = {
    "no threshold": KEPT,
    "threshold before, 0.1": GROWN,
    "threshold after, 0.01": DROPPED,
    "dense": INK,
}
Curve = tuple[str, str, list[tuple[float, float]]]  # name, colour, points


def plain(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Accuracies without a threshold."""
    found = [row for row in result["accuracy"] if not row["before"] and not row["after"]]
    return sorted(found, key=lambda row: (list(NAMES).index(row["set"]), list(SPLITS).index(row["split"])))


def shown(row: dict[str, Any]) -> str:
    """An accuracy, and how far seeds are apart where there are several."""
    return f"{row['mean']:.2f}" + (f" ± {row['deviation']:.2f}" if row["deviation"] is not None else "")


@view("diffusion-accuracy", SOURCE, COMMAND)
def accuracy(result: dict[str, Any]) -> str:
    """Beside the published ones."""
    rows = []
    for row in plain(result):
        published = result["published"].get(row["set"], {}).get(row["split"])
        rows.append(
            [
                NAMES[row["set"]],
                SPLITS[row["split"]],
                row["seeds"],
                shown(row),
                f"{published} %" if published else "none known",
                f"{row['epochs']:g}",
            ]
        )
    head = [
        "graph",
        "split",
        "seeds",
        "accuracy, percent, ± deviation over seeds",
        "published",
        "epochs, median",
    ]
    return table(head, rows)


@view("diffusion-picture", SOURCE, COMMAND)
def thresholds_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Accuracy by threshold, before and after the powers](ASSETS/diffusion.svg)"


@view("diffusion-thresholds", SOURCE, COMMAND)
def thresholds(result: dict[str, Any]) -> str:
    """Accuracy by threshold."""
    rows = []
    for threshold in sorted({max(row["before"], row["after"]) for row in result["accuracy"]}):
        cells = []
        for name in NAMES:
            for which in ("before", "after"):
                found = of_threshold(result, name, which, threshold)
                missing = "as before" if (threshold, which) == (1, "after") else "not measured"
                cells.append(shown(found) if found else missing)
        rows.append([f"{threshold:g}", *cells])
    head = ["threshold", *(f"{graph}, {which}" for graph in NAMES.values() for which in ("before", "after"))]
    seeds = sorted({row["seeds"] for row in result["accuracy"] if row["before"] or row["after"]})
    says = f"Accuracy in percent; {' or '.join(map(str, seeds))} seeds, without a threshold those above."
    return f"{says}\n\n{table(head, rows)}"


def of_threshold(result: dict[str, Any], name: str, which: str, threshold: float) -> dict[str, Any] | None:
    """The accuracies of random thirds under one threshold."""
    other = "after" if which == "before" else "before"
    return next(
        (
            row
            for row in result["accuracy"]
            if (row["set"], row["split"], row[which], row[other]) == (name, "thirds", threshold, 0)
        ),
        None,
    )


@view("diffusion-entries", SOURCE, COMMAND)
def entries(result: dict[str, Any]) -> str:
    """Non-zeros of thresholded powers."""
    rows = []
    for graph in sorted(result["entries"], key=lambda graph: list(NAMES).index(graph["set"])):
        for row in [{"threshold": 0, "before": graph["powers"], "after": graph["powers"]}, *graph["rows"]]:
            longest = row.get("longest_row", "all")
            before, after = ([f"{count:,}" for count in row[which]] for which in ("before", "after"))
            rows.append([NAMES[graph["set"]], f"{row['threshold']:g}", *before, longest, " / ".join(after)])
    says = (
        "Entries of the row-stochastic matrix P and its powers. Before: P has only what is above the threshold. "
        "After: the powers of all of P have."
    )
    head = ["graph", "threshold", "P, before", "P^2", "P^3", "longest row of P", "P / P^2 / P^3, after"]
    return f"{says}\n\n{table(head, rows)}"


@view("diffusion-scale-picture", SOURCE, COMMAND)
def scale_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Time of a step and memory by nodes, both scales in powers of ten](ASSETS/diffusion-scale.svg)"


@view("diffusion-scale", SOURCE, COMMAND)
def scale(result: dict[str, Any]) -> str:
    """Cost by size and form."""
    rows = []
    for row in by_size(result):
        start = [f"{row['nodes']:,}", row["form"]]
        if not row.get("fits", True):
            rows.append([*start, "does not fit"])
            continue
        rows.append(
            [
                *start,
                " + ".join(f"{count:,}" for count in row["entries"]),
                size(row["held_bytes"]),
                f"{row['seconds_prepare']:.3g} s",
                f"{row['seconds_forward']:.3g} s",
                f"{row['seconds_forward_backward']:.3g} s",
                size(row["peak_bytes"] - row["bare_bytes"]),
            ]
        )
    made = result["scale"]
    says = (
        f"Random graphs of mean degree {made['degree']}, {result['hops']} hops, {made['features']} features, "
        "processor seconds of one thread. Entries: of the matrices that are held. A step: forward, and backward to "
        "features and weights. Peak: of the process, above what it took before the graph was prepared. A process gets "
        f"{made['limit_gib']:g} GiB."
    )
    head = ["nodes", "form", "entries", "matrices", "preparing", "forward", "a step", "peak memory"]
    return f"{says}\n\n{table(head, [row + [''] * (len(head) - len(row)) for row in rows])}"


def by_size(result: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows, small graphs first."""
    forms = list(COLOURS)
    return sorted(result["scale"]["rows"], key=lambda row: (row["nodes"], forms.index(row["form"])))


def scale_drawn(result: dict[str, Any]) -> Drawing:
    """Two panels of lines, both scales in powers of ten."""
    picture = Drawing(980, 380, "Time of a step and memory by nodes, both scales in powers of ten")
    rows = [row for row in by_size(result) if row.get("fits", True)]
    for place, title, value in (
        (70, "A step, seconds", lambda row: row["seconds_forward_backward"]),
        (450, "Memory of the matrices, MB", lambda row: row["held_bytes"] / 1e6),
    ):
        lines = [
            (form, colour, [(row["nodes"], value(row)) for row in rows if row["form"] == form])
            for form, colour in COLOURS.items()
        ]
        powers(picture, place, title, lines)
    for number, (form, colour) in enumerate(COLOURS.items()):
        picture.text(800, 90 + 22 * number, form, colour, size=12)
    return picture


def powers(picture: Drawing, left: float, title: str, curves: list[Curve]) -> None:
    """One panel."""
    top, width, height = 60, 310, 260
    points = [point for _, _, line in curves for point in line]
    first, last = (math.log10(pick(x for x, _ in points)) for pick in (min, max))
    low = math.floor(math.log10(min(y for _, y in points)))
    high = math.ceil(math.log10(max(y for _, y in points)))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + width * (math.log10(x) - first) / (last - first),
            top + height * (high - math.log10(y)) / (high - low),
        )

    picture.heading(left, 32, title)
    for power in range(low, high + 1):
        y = place(10**first, 10.0**power)[1]
        picture.text(left - 8, y + 4, f"{10.0**power:g}", SOFT, "end", 11)
        picture.bar(left, y, width, 0.5, LINE)
    for power in range(math.ceil(first), math.floor(last) + 1):
        picture.text(place(10**power, 10.0**low)[0], top + height + 20, f"{10**power:,}", SOFT, "middle", 11)
    picture.text(left + width, top + height + 42, "nodes", INK, "end", 11)
    for _, colour, line in curves:
        picture.line([place(*point) for point in line], colour)


def thresholds_drawn(result: dict[str, Any]) -> Drawing:
    """Accuracy by threshold: four lines, thresholds one beside the other."""
    left, top, width, height = 60, 50, 480, 250
    picture = Drawing(800, 370, "Accuracy by threshold, before and after the powers")
    picture.heading(left, 28, "Accuracy by threshold, random thirds, percent")
    steps = sorted({max(row["before"], row["after"]) for row in result["accuracy"]})
    means = [row["mean"] for row in result["accuracy"] if row["split"] == "thirds"]
    low, high = 5 * math.floor(min(means) / 5), 5 * math.ceil(max(means) / 5)
    for level in range(low, high + 1, 5):
        y = top + height * (high - level) / (high - low)
        picture.text(left - 8, y + 4, f"{level}", SOFT, "end", 11)
        picture.bar(left, y, width, 0.5, LINE)
    for number, step in enumerate(steps):
        picture.text(
            left + width * number / (len(steps) - 1), top + height + 20, f"{step:g}", SOFT, "middle", 11
        )
    picture.text(left + width, top + height + 42, "threshold", INK, "end", 11)
    shades = {
        ("cora", "before"): KEPT,
        ("cora", "after"): INK,
        ("citeseer", "before"): GROWN,
        ("citeseer", "after"): DROPPED,
    }
    for row, ((name, which), colour) in enumerate(shades.items()):
        found = [(number, of_threshold(result, name, which, step)) for number, step in enumerate(steps)]
        points = [
            (left + width * number / (len(steps) - 1), top + height * (high - each["mean"]) / (high - low))
            for number, each in found
            if each
        ]
        picture.line(points, colour)
        picture.text(left + width + 20, top + 20 + 22 * row, f"{NAMES[name]}, {which}", colour, size=12)
    return picture
