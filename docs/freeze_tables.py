"""The views of ``render_results.py`` that show small calls, what freezing chooses, and layers that lost connections."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from statistics import median
from typing import Any

from result_tables import size, table, view

PARTS = ("forward", "backward", "optimizer", "bytes")


@view("call-overhead", "call_overhead", "python benchmarks/call_overhead.py --write")
def call_overhead(result: dict[str, Any]) -> str:
    """Where the call costs more than the arithmetic."""
    rows = [
        [row["group"], row["call"], f"{row['us']:.1f} us", f"{row['of the first']:.2f}x"]
        for row in result["rows"]
    ]
    return (
        f"Batch {result['batch']}, one thread, density {result['density']} but where it is named; layers of 64 x 64, a "
        "net of four of them, and one layer of 512 x 512. The last column is against the first row of its group."
        f"\n\n{table(['measured', 'call', 'time', 'of the first'], rows)}"
    )


@view("freeze-choice", "freeze_choice", "python benchmarks/freeze_choice.py")
def freeze_choice(result: dict[str, Any]) -> str:
    """Whether what is chosen is what is fastest."""
    rows = [
        [
            f"{1 - row['density']:.0%}",
            row["batch"],
            row["best_forced"],
            f"{median(row['ratios']):.2f}",
            f"{row['worst']:.2f}",
            row["plans"],
        ]
        for row in result["choices"]
    ]
    head = [
        "sparsity",
        "batch",
        "best forced layout",
        "median of ten freezes",
        "slowest of ten",
        "different plans",
    ]
    return (
        "Ten freezes of one network 256-256-256-256-10 in blocks of 16; times are against the best layout that all its "
        f"layers can be forced into, in the same run.\n\n{table(head, rows)}"
    )


@view("freeze-batches", "freeze_choice", "python benchmarks/freeze_choice.py")
def freeze_batches(result: dict[str, Any]) -> str:
    """Whether a network frozen for one sample is slow for many."""
    rows = [
        [
            row["network"],
            row["batch"],
            f"{1e3 * row['dense']:.2f} ms",
            f"{1e3 * row['unfrozen']:.2f} ms",
            f"{1e3 * row['frozen']:.2f} ms",
            f"{row['ratio']:.2f}",
        ]
        for row in result["batches"]
    ]
    head = ["network", "batch", "dense torch", "sparse, not frozen", "frozen", "frozen of dense"]
    return f"Networks at 90 %, frozen for batch 1 and called with more, one thread.\n\n{table(head, rows)}"


@view("freeze-files", "freeze_choice", "python benchmarks/freeze_choice.py")
def freeze_files(result: dict[str, Any]) -> str:
    """Bytes of a file for each type of values."""
    rows = [
        [
            f"{1 - row['density']:.0%}",
            row["prefer"],
            *(f"{row[values]:,}" for values in ("exact", "bfloat16", "int8")),
        ]
        for row in result["files"]
    ]
    return (
        "Bytes of the file of an MLP 784-300-100-10, by sparsity and by what `freeze` prefers."
        f"\n\n{table(['sparsity', 'prefer', 'exact', 'bfloat16', 'int8'], rows)}"
    )


@view("shrunk-layer", "shrunk_layer", "python benchmarks/shrunk_layer.py")
def shrunk_layer(result: dict[str, Any]) -> str:
    """A layer that lost connections against one born that small."""
    rows = []
    for pattern in dict.fromkeys(row["pattern"] for row in result["rows"]):
        mine = [row for row in result["rows"] if row["pattern"] == pattern]
        for way, says in (("shrunk", "as it is"), ("compact", "after `compact`")):
            ratios = [median(row[way][part] / row["born"][part] for row in mine) for part in PARTS]
            worst = max(row[way][part] / row["born"][part] for row in mine for part in PARTS[:2])
            kept = size(mine[0][way]["bytes"])
            rows.append([f"`{pattern}`", says, *(f"{ratio:.2f}" for ratio in ratios), f"{worst:.2f}", kept])
    cases = len({(row["inputs"], row["outputs"], row["batch"]) for row in result["rows"]})
    first = result["rows"][0]
    head = [
        "pattern",
        "layer",
        *PARTS,
        "slowest product",
        f"memory of {first['inputs']} x {first['outputs']}",
    ]
    return (
        "A full layer that lost nine tenths of its connections, against one born that small; median ratio over "
        f"{cases} cases of shape and batch, one thread, Adam.\n\n{table(head, rows)}"
    )


@view("runtime-start", "runtime_start", "python benchmarks/runtime_start.py --write")
def runtime_start(result: dict[str, Any]) -> str:
    """What torch costs before the first answer."""
    rows = [
        [
            kind,
            size(result["bytes"][kind]),
            *(f"{1000 * seconds:.1f} ms" for seconds in result["seconds"][kind].values()),
        ]
        for kind in result["bytes"]
    ]
    head = ["process", "installed", "import", "load the file", "first answer"]
    calls = [
        [batch, *(f"{1e6 * seconds:.1f} us" for seconds in times.values())]
        for batch, times in result["calls"].items()
    ]
    names = next(iter(result["calls"].values()))
    widths = "-".join(map(str, result["widths"]))
    return (
        f"A network {widths} at density {result['density']}, each layer in the core; one thread.\n\n{table(head, rows)}"
        f"\n\nA call, in one process:\n\n{table(['batch', *names], calls)}"
    )
