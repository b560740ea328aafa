"""The views of ``render_results.py`` on distances of topologies, and their picture."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from statistics import mean
from typing import Any

from drawing import DROPPED, KEPT, LINE, SOFT, Drawing
from result_tables import size, table, view

SPEED, TRAVEL = "topology_speed", "topology_travel"


@view("topology-speed", SPEED, "python benchmarks/topology_speed.py")
def speed(result: dict[str, Any]) -> str:
    """Time and memory by width."""
    rows = [
        [
            f"{row['width']:,}",
            f"{100 * row['density']:g} %",
            row["matching"],
            f"{row['processor_seconds']:.3g} s",
            size(row["peak_bytes"] - result["bare_bytes"]),
            f"{row['distance']:.4f}",
        ]
        for row in result["rows"]
    ]
    says = (
        "Two random layers with as many inputs as neurons, one thread; time of the processor, memory above the bare "
        "process. For more neurons take `greedy`, which holds no matrix of pairs."
    )
    return f"{says}\n\n{table(['neurons', 'density', 'matching', 'time', 'memory', 'distance'], rows)}"


@view("topology-travel", TRAVEL, "python benchmarks/topology_travel.py --epochs 200 --seeds 5")
def travel(result: dict[str, Any]) -> str:
    """Accuracies beside distances."""
    dense = [row["accuracy"] for row in result["dense"]]
    rows = [["dense", f"{100 * mean(dense):.2f} %", f"{100 * max(dense):.2f} %", "", "", "", ""]]
    for case in result["densities"]:
        right = [row["accuracy"] for row in case["networks"]]
        beat = sum(each > max(dense) for each in right)
        alone = [number for number, row in enumerate(case["networks"]) if not row["moved_percent"]]
        pairs = [(a, b) for a in alone for b in alone if a < b]
        start, end = (mean(case[name][a][b] for a, b in pairs) for name in ("start", "end"))
        rows.append(
            [
                f"{100 * case['density']:g} %",
                f"{100 * mean(right):.2f} %",
                f"{100 * max(right):.2f} %",
                f"{beat} of {len(right)}",
                f"{start:.3f}",
                f"{end:.3f}",
                f"{case['by_chance']:.3f}",
            ]
        )
    widths = "-".join(map(str, result["widths"]))
    says = (
        f"784-{widths}-10 on FashionMNIST, SET once an epoch, {result['epochs']} epochs. Distances (NNSTD) between "
        "networks with independent starts, at the start and at the end. 'Better': networks above the best dense one, "
        "test accuracy of the last epoch."
    )
    head = [
        "density",
        "accuracy, mean",
        "best",
        "better than dense",
        "apart at the start",
        "at the end",
        "by chance",
    ]
    return f"{says}\n\n{table(head, rows)}"


@view("topology-travel-picture", TRAVEL, "python benchmarks/topology_travel.py --epochs 200 --seeds 5")
def travel_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![How topologies travel and drift apart](ASSETS/topology-travel.svg)"


def curves(result: dict[str, Any]) -> Drawing:
    """For each density: a network's distance from its own start, and from the one that began one per cent away."""
    cases = result["densities"]
    left, top, width, height = 70, 70, 320, 220
    picture = Drawing(90 + 400 * len(cases), 360, "Distances of topologies over a training")
    picture.heading(30, 28, "How a topology travels, and how neighbours drift apart (NNSTD over epochs)")
    for number, case in enumerate(cases):
        x0, last = left + 400 * number, case["steps"][-1]
        picture.text(x0, top - 14, f"density {100 * case['density']:g} %")
        for share in (0, 0.25, 0.5, 0.75, 1):
            y = top + height * (1 - share)
            picture.text(x0 - 8, y + 4, f"{share:g}", SOFT, "end", 11)
            picture.bar(x0, y, width, 0.5, LINE)
        lines = {KEPT: [row[0] for row in case["travel"]]}
        if len(case["row"][0]) > 1:
            lines[DROPPED] = [row[1] for row in case["row"]]
        for colour, line in lines.items():
            places = zip(case["steps"], line, strict=True)
            picture.line([(x0 + width * step / last, top + height * (1 - d)) for step, d in places], colour)
        if case["by_chance"] is not None:
            picture.line([(x0, y := top + height * (1 - case["by_chance"])), (x0 + width, y)], SOFT)
        picture.text(
            x0 + width / 2, top + height + 20, f"epochs, 0 to {result['epochs']}", SOFT, "middle", 11
        )
    y = top + height + 48
    for place, (colour, said) in enumerate(
        ((KEPT, "from its own start"), (DROPPED, "from one that began 1 % away"), (SOFT, "by chance"))
    ):
        picture.bar(left + 260 * place, y - 8, 18, 4, colour)
        picture.text(left + 260 * place + 26, y, said, SOFT)
    return picture
