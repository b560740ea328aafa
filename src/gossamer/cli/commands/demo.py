"""``gossamer demo``: dense and five sparse trainings of one network, frozen, measured, and reported."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import duration, many, percent, size

if TYPE_CHECKING:
    from rich.console import Group
    from rich.progress import Progress

    from gossamer.runs.config import RunConfig
    from gossamer.runs.samples import Samples

NAMES = {
    "dense": "dense torch",
    "static": "static, fan-in",
    "set": "SET",
    "rigl": "RigL",
    "srigl": "SRigL, fan-in",
    "srigl-nm": "SRigL, 1:8",
}


@command(plug_ins=True)
def demo(
    out: Output,
    data: Annotated[
        str, typer.Option(help="Data set; best: mnist, else fashion-mnist, else digits.")
    ] = "best",
    epochs: Annotated[int | None, typer.Option(min=1, help="By default what suits the data set.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of training and measuring.")] = 1,
    target: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the runs.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what is finished.")] = False,
) -> None:
    """Train a network dense and five ways sparse; print accuracy, size and speed in one table.

    Examples:
        gossamer demo --data digits --epochs 2
    """
    from gossamer.cli.compare import compare, freeze_all
    from gossamer.cli.methods import methods
    from gossamer.cli.target import check_target
    from gossamer.report import write_report
    from gossamer.report.page import is_page
    from gossamer.runs.samples import load_samples

    began = time.monotonic()
    samples = load_samples(data)
    folder = target or Path("runs") / f"demo-{samples.name}"
    page = folder / "report.html"
    check_target(page, "report", is_page)
    configs = methods(samples.name, len(samples.x_train), seed, threads, epochs)
    out.remark(
        f"{samples.name}, {len(configs)} networks; runs in {folder}; if this stops, run it again to go on"
    )
    folders = {name: folder / name for name in configs}
    with out.progress() as progress:
        for name, config in configs.items():
            _train(folders[name], config, samples, progress, NAMES[name], fresh=fresh)
            out.remark(f"{NAMES[name]}: trained")
    out.remark("freezing and measuring")
    rows = compare(freeze_all(folders, samples, threads), folders, samples, threads)
    write_report(folders.values(), page, title=f"Gossamer demo on {samples.name}")
    document = {
        "data": samples.name,
        "seed": seed,
        "threads": threads,
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
        "report": str(page),
    }
    out.result(document, lambda: _view(document))


def _train(
    folder: Path, config: RunConfig, samples: Samples, progress: Progress, label: str, *, fresh: bool
) -> None:
    """Train a method, go on with it, or leave it as it is where it is finished."""
    from gossamer.runs import record
    from gossamer.runs.execute import execute
    from gossamer.runs.folder import begin, decide

    if fresh or not (folder / record.CONFIG).is_file():
        config, _ = begin(folder, config, fresh=fresh, samples=samples)
    else:
        config = decide(config, samples.name)
        if record.read_document(folder).config != config.model_dump(mode="json"):
            raise ConfigError(
                f"demo in {folder}",
                expected="the settings it began with",
                got="others",
                hint="choose another --out, or start over with --fresh",
            )
    if (folder / record.SUMMARY).is_file():
        progress.add_task(label, total=1, completed=1, note="finished before")
        return
    execute(folder, config, samples, progress, label)


def _view(document: dict[str, Any]) -> Group:
    """The one table."""
    columns = ["network", "accuracy", "best", "connections", "file"]
    batches = list(document["rows"][0]["seconds"])
    for batch in batches:
        columns += [f"batch {batch}", "against dense"]
    rows = []
    for row in document["rows"]:
        best = percent(row["best"]["accuracy"]) if row["best"] else "-"
        cells = [NAMES.get(row["method"], row["method"]), percent(row["accuracy"]), best]
        cells += [f"{row['connections']:,}", size(row["bytes"])]
        for batch in batches:
            cells += [duration(row["seconds"][batch]), f"{row['against_dense'][batch]:.2f} x"]
        rows.append(cells)
    said = f"seed {document['seed']}, {many(document['threads'], 'thread')}, {document['seconds']:.0f} s"
    return table(f"{document['data']}, {said}", columns, rows, f"report: {document['report']}")
