"""The views and the picture of ``render_results.py`` that show training with several processes."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

import math
from typing import Any

from drawing import DROPPED, GROWN, INK, KEPT, LINE, SOFT, Drawing
from result_tables import size, table, view

SOURCE, COMMAND = "parallel", "python benchmarks/parallel.py"
MODES = {"wasap": "WASAP, with the server", "wassp": "WASSP", "ddp": "DDP, growth by gradient"}
COLOURS = {"wasap": DROPPED, "wassp": GROWN, "ddp": KEPT}


@view("parallel", SOURCE, COMMAND)
def parallel(result: dict[str, Any]) -> str:
    """Accuracy, time and bytes of each mode."""
    accuracy, faster, sent = result["accuracy"], result["times_faster"], result["bytes"]
    step, reduced = size(sent["wasap_sent_per_step"]), size(sent["in_step_reduced_per_step"])
    rows = [
        [
            name,
            f"{accuracy[mode]['mean']:.2f}",
            ", ".join(f"{value:.2f}" for value in accuracy[mode]["runs"]),
            "—" if mode == "sequential" else f"{faster[mode]:.2f}x",
            "—" if mode == "sequential" else f"{result['processor_times_faster'][mode]:.2f}x",
            {"sequential": "—", "wasap": f"{step} each way", "wassp": f"{reduced} reduced"}[mode],
        ]
        for mode, name in {"sequential": "one process", "wasap": "WASAP", "wassp": "WASSP"}.items()
    ]
    head = ["how", "accuracy", "runs", "wall time", "processor time", "bytes a step"]
    options = result["options"]
    says = (
        f"FashionMNIST, MLP {'-'.join(map(str, result['widths']))}, {sent['parameters']:,} parameters, SET; "
        f"{options['epochs']} epochs, {result['workers']} workers, batch {result['batch']} each, equal samples. Times: "
        "how many times less than one process on one core needs; all processes of a mode, the server too, on two."
    )
    return f"{says}\n\n{table(head, rows)}"


@view("parallel-step", SOURCE, COMMAND)
def parallel_step(result: dict[str, Any]) -> str:
    """Where the time of a step goes, by process."""
    rows = [
        [name, f"{row['wall_ms']:.2f} ms", f"{row['cpu_ms']:.2f} ms"]
        for name, row in result["per_step"].items()
    ]
    more = size(result["bytes"]["wasap_difference_per_update"])
    says = f"A step of each process. An update of the topology adds {more} to one answer of the server for each worker."
    return f"{says}\n\n{table(['process', 'wall time', 'processor time'], rows)}"


@view("parallel-plan", SOURCE, COMMAND)
def parallel_plan(result: dict[str, Any]) -> str:
    """How many times faster with many workers, by network."""
    plan = result["plan"]
    rows = [
        [
            f"{MODES[mode]}, {network}",
            *(f"{value:.1f}x" for value in curve["times_faster"]),
            curve["half_used"],
        ]
        for network, modes in plan["networks"].items()
        for mode, curve in modes.items()
    ]
    return table(["workers", *plan["workers"], "workers at least half used"], rows)


@view("parallel-picture", SOURCE, COMMAND)
def parallel_picture(_: dict[str, Any]) -> str:
    """Where the picture lies."""
    return "![Times faster with many workers](ASSETS/parallel.svg)"


def curves(result: dict[str, Any]) -> Drawing:
    """Lines: times faster by workers, both in powers of two; one panel a network."""
    plan = result["plan"]
    workers, networks = plan["workers"], plan["networks"]
    top, height, wide, step = 62, 230, 240, 24
    picture = Drawing(60 + (wide + 40) * len(networks), 350, "Times faster with many workers, planned")
    peak = math.log2(max(workers))
    for number, (network, modes) in enumerate(networks.items()):
        left = 60 + (wide + 40) * number
        picture.heading(left, 28, network)
        for power in range(0, math.floor(peak) + 1, 2):
            y = top + height * (1 - power / peak)
            picture.text(left - 10, y + 4, f"{2**power}x", SOFT, "end", 11)
            picture.bar(left, y, step * (len(workers) - 1), 0.5, LINE)
        for mode, curve in modes.items():
            heights = [max(0.0, math.log2(value)) / peak for value in curve["times_faster"]]
            picture.line(
                [(left + step * i, top + height * (1 - share)) for i, share in enumerate(heights)],
                COLOURS[mode],
            )
        for i, count in enumerate(workers):
            picture.text(left + step * i, top + height + 20, str(count), SOFT, "middle", 10)
    for number, (mode, name) in enumerate(MODES.items()):
        picture.text(60 + 230 * number, 340, name, COLOURS[mode], size=12)
    picture.text(60 + 230 * len(MODES), 340, "across: workers", INK, size=12)
    return picture
