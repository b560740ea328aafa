"""The views of ``render_results.py`` that show several processes: killed ones, and many updates."""
# ruff: noqa: INP001 (a script's other half)

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from result_tables import table, view


@view("worker-kills", "worker_kills", "python benchmarks/worker_kills.py")
def worker_kills(result: dict[str, Any]) -> str:
    """Accuracy with and without kills."""
    runs: dict[tuple[str, int], list[float]] = {}
    for row in result["rows"]:
        runs.setdefault((row["mode"], row["killed"]), []).append(100 * row["accuracy"])
    rows = [
        [f"`{mode}`", str(killed), ", ".join(f"{one:.1f}" for one in got), spread(got)]
        for (mode, killed), got in sorted(runs.items())
    ]
    same, settings = "the same bits" if result["ddp_same_bits"] else "other bits", result["settings"]
    return (
        f"Digits, {settings['parallel.workers']} workers, {settings['epochs']} epochs, under torchrun; "
        f"test accuracy in per cent of every run. In `ddp` the killed run ended with {same} as the other.\n\n"
        + table(["mode", "processes killed in a run", "accuracy of each seed", "mean and deviation"], rows)
    )


def spread(got: list[float]) -> str:
    """Mean and standard deviation, where there are several."""
    return f"{mean(got):.1f} ± {stdev(got):.1f}" if len(got) > 1 else f"{got[0]:.1f}"


@view("ddp-updates", "ddp_updates", "python benchmarks/ddp_updates.py")
def ddp_updates(result: dict[str, Any]) -> str:
    """Topologies and losses."""
    rows = [
        [
            f"`{row['rule']}`, {row['ranks']} ranks, {row['dtype']}",
            f"{row['updates']:,}",
            f"{row['grown']:,}",
            "all the same" if len(set(row["topologies_of_ranks"])) == 1 else "differ",
            "the same" if row["topologies_of_one_process"] == row["topologies_of_ranks"][0] else "another",
            f"{row['largest_relative_difference']:.0e}",
        ]
        for row in result["rows"]
    ]
    head = [
        "training",
        "updates",
        "connections moved",
        "topologies of the ranks",
        "of one process",
        "largest difference of a loss",
    ]
    return (
        f"Digits, 64-64-32-10 at 25 %, a global batch of {result['batch']}, an update after every step. The difference "
        "is that of the losses, relative, over all steps, to one process with the same global batch; it comes from the "
        "order of sums alone."
        f"\n\n{table(head, rows)}"
    )
