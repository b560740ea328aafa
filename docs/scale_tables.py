"""The views of ``render_results.py`` that show cost against size, and their picture."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

import math
from typing import Any

from drawing import DROPPED, GROWN, INK, KEPT, LINE, SOFT, Drawing
from result_tables import size, table, view

SOURCE, COMMAND = "scale", "python benchmarks/scale.py"
CURVES = {
    "a step, processor seconds": (KEPT, lambda row: row["processor_seconds"]["step"]),
    "a SET update": (DROPPED, lambda row: row["processor_seconds"]["update"]),
    "building": (GROWN, lambda row: row["processor_seconds"]["build"]),
    "memory above the bare process, GB": (INK, lambda row: (row["peak_bytes"] - row["bare_bytes"]) / 1e9),
}


def of_kind(result: dict[str, Any], kind: str, threads: int = 0) -> list[dict[str, Any]]:
    """The rows of one family, small ones first; of so many threads, or all."""
    return [row for row in result["rows"] if row["kind"] == kind and threads in (0, row["threads"])]


@view("scale-picture", SOURCE, COMMAND)
def curves_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Time and memory by connections, ten layers with epsilon 1](ASSETS/scale.svg)"


@view("scale-sizes", SOURCE, COMMAND)
def sizes(result: dict[str, Any]) -> str:
    """Time and memory by size."""
    rows = []
    for row in of_kind(result, "ten"):
        processor, losses = row["processor_seconds"], row["losses"]
        rows.append(
            [
                f"{row['neurons']:,}",
                f"{row['connections']:,}",
                row["threads"],
                f"{row['seconds_build']:.3g} s",
                f"{row['seconds_step']:.3g} s ({processor['step']:.3g})",
                f"{row['connections_per_second'] / 1e6:.3g} million",
                f"{row['seconds_update']:.3g} s ({processor['update']:.3g})",
                size(row["peak_bytes"]),
                f"{losses[0]:.3g}, {min(losses):.3g}",
            ]
        )
    batch = of_kind(result, "ten")[-1]["batch"]
    says = (
        f"Ten hidden layers, epsilon 1, batch {batch}, SGDW with momentum, SET with zeta {result['zeta']}; "
        "in brackets processor seconds of all threads. Connections a second: of a whole step, times samples. Memory: "
        "the process's own high-water mark, the interpreter and torch in it."
    )
    head = [
        "neurons",
        "connections",
        "threads",
        "building",
        "a step",
        "connections a second",
        "an update",
        "peak memory",
        "loss, first and least",
    ]
    return f"{says}\n\n{table(head, rows)}"


@view("scale-bytes", SOURCE, COMMAND)
def bytes_a_connection(result: dict[str, Any]) -> str:
    """What a connection costs, at rest and at the peaks."""
    rows = []
    for row in of_kind(result, "ten", 1):
        if row["connections"] < 1e6:
            continue
        count, held = row["connections"], row["held_bytes"]
        own, neurons = held["by_connection"], held["by_neuron"]
        trained = sum(own.values()) - own["gradients"] + neurons["row pointers"]
        peaks = [(row[key] - row["bare_bytes"]) / count for key in ("peak_step_bytes", "peak_bytes")]
        rest = [trained, own["gradients"], neurons["biases, gradients and momentum"]]
        rows.append([f"{count:,}", *(f"{value / count:.1f}" for value in rest), *(f"{p:.1f}" for p in peaks)])
    head = [
        "connections",
        "values, momentum, all indices",
        "gradients",
        "biases, their gradients and momentum",
        "at the peak of a step",
        "at the peak with an update",
    ]
    says = (
        "Bytes a connection, of which a neuron has but two here: row pointers are 2 of the bytes of indices, and "
        "biases with theirs stand apart. Peaks are above the bare process, activations of two samples in them."
    )
    return f"{says}\n\n{table(head, rows)}"


@view("scale-lung", SOURCE, COMMAND)
def lung(result: dict[str, Any]) -> str:
    """Epochs of the lung-scaling networks beside the published ones."""
    rows, samples = [], result["lung_samples"]
    for row in of_kind(result, "lung"):
        neurons = row["widths"][1]
        steps = math.ceil(samples / row["batch"])
        seconds = steps * row["seconds_step"] + row["seconds_update"]
        published = result["lung_published_minutes"][str(neurons)]
        rows.append(
            [
                f"3312-{neurons:,}-{neurons:,}-{neurons:,}-5",
                f"{row['connections']:,}",
                row["threads"],
                f"{seconds:.3g} s",
                size(row["peak_bytes"]),
                f"{published:g} min",
                f"{60 * published / seconds:.1f}x",
            ]
        )
    says = (
        f"One epoch of {samples} samples, batch 2, epsilon 20, with one SET update, from steps timed on synthetic "
        "data; published: SciPy on a laptop with 16 GB, whose epochs had at most as many samples: the last column "
        "compares two machines."
    )
    head = ["network", "connections", "threads", "an epoch", "peak memory", "published", "times faster"]
    return f"{says}\n\n{table(head, rows)}"


def curves(result: dict[str, Any]) -> Drawing:
    """Lines: seconds and gigabytes by connections, both in powers of ten."""
    rows = of_kind(result, "ten", 1)
    left, top, width, height = 80, 50, 520, 300
    picture = Drawing(860, 400, "Time and memory by connections, both scales in powers of ten")
    picture.heading(30, 28, "Cost against size: ten layers, epsilon 1, batch 2, one thread")
    values = [value(row) for row in rows for _, value in CURVES.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(rows[0]["connections"]), math.log10(rows[-1]["connections"])
    for power in range(low, high + 1):
        y = top + height * (high - power) / (high - low)
        picture.text(left - 10, y + 4, f"{10.0**power:g}", SOFT, "end", 11)
        picture.bar(left, y, width, 0.5, LINE)
    for power in range(math.ceil(first - 0.01), math.floor(last) + 1):
        x = left + width * (power - first) / (last - first)
        picture.text(x, top + height + 22, f"{10**power:,}", SOFT, "middle", 11)
    for number, (name, (colour, value)) in enumerate(CURVES.items()):
        points = [
            (
                left + width * (math.log10(row["connections"]) - first) / (last - first),
                top + height * (high - math.log10(value(row))) / (high - low),
            )
            for row in rows
        ]
        picture.line(points, colour)
        picture.text(left + width + 14, top + 20 + 22 * number, name, colour, size=12)
    picture.text(left + width, top + height + 44, "connections", INK, "end", 11)
    return picture
