"""``gossamer report``: run folders in, one HTML file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.report.words import percent


@command()
def report(
    out: Output,
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    target: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its heading.")] = "Gossamer report",
) -> None:
    """Write one self-contained HTML page on finished or unfinished runs.

    Examples:
        gossamer report runs/a runs/b --out report.html
    """
    from gossamer.cli.target import check_target
    from gossamer.report import write_report
    from gossamer.report.page import is_page

    check_target(target, "report", is_page)
    read = write_report(runs, target, title)
    rows = [
        {
            "run": run.name,
            "epochs": len(run.metrics),
            "accuracy": run.metrics[-1].test_accuracy if run.metrics else None,
            "finished": run.summary is not None,
        }
        for run in read
    ]
    shown = [
        [
            str(row["run"]),
            str(row["epochs"]),
            percent(row["accuracy"]) if isinstance(row["accuracy"], float) else "-",
            "yes" if row["finished"] else "no",
        ]
        for row in rows
    ]
    out.result(
        {"report": str(target), "runs": rows},
        lambda: table(f"report: {target}", ["run", "epochs", "accuracy", "finished"], shown),
    )
