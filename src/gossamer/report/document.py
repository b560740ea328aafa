"""Run folders in, one self-contained HTML file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import ConfigError
from gossamer.report import figures as draw
from gossamer.report import page
from gossamer.report.topology import apart, topologies_of, travelled
from gossamer.report.words import duration, many, percent, size
from gossamer.runs.record import Run, read_run
from gossamer.storage import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gossamer.runs.moments import Moment

NOTHING = "\u2013"
FEW_RUNS = 6  # up to so many, every run's own section is unfolded


def write_report(
    folders: Iterable[str | Path], path: str | Path, title: str = "Gossamer report"
) -> list[Run]:
    """Write a report on run folders.

    Args:
        folders: run folders, finished or not.
        path: str or Path - the HTML file; replaced whole.
        title: str - plain text.

    Returns:
        list of Run - what was read.

    Raises:
        ConfigError: no folder. FormatError: a damaged run. FileNotFoundError: no run there.

    Cost: about half a second a run, and a second for each pair of runs whose layers have 1,000 neurons.
    """
    places = [Path(folder) for folder in folders]
    runs = [read_run(folder) for folder in places]
    if not runs:
        raise ConfigError("write_report", expected="at least one run folder", got="none")
    kept = [topologies_of(folder) for folder in places]
    own = [
        _run(run, moments, unfolded=len(runs) <= FEW_RUNS) for run, moments in zip(runs, kept, strict=True)
    ]
    between = apart([moments[-1] for moments, _ in kept if moments])
    html = page.page(
        title, [_comparison(runs), between, *own, page.section("Configuration", _settings(runs))]
    )
    with atomic(Path(path)) as part:
        part.write_text(html, "utf-8")
    return runs


def _comparison(runs: Sequence[Run]) -> str:
    """What is said of all runs together."""
    columns = ("run", "accuracy, last", "best (epoch)", "connections", "density", "bytes", "training")
    return page.section(
        "Results",
        page.table(columns, [_result(run) for run in runs]),
        page.note(
            "On the test set; 'best' is chosen on it too, 'last' is not. Bytes: values, indices and biases."
        ),
        _speed(runs),
        page.figures(
            (draw.accuracy(runs), "Test accuracy"), (draw.densities(runs), "Density of each layer at the end")
        ),
    )


def _result(run: Run) -> list[str]:
    if run.summary is None:
        last = percent(run.metrics[-1].test_accuracy) if run.metrics else NOTHING
        return [run.name, f"{last} (not finished)", *[NOTHING] * 5]
    layers, best = run.summary.layers, run.summary.best
    connections = sum(layer.connections for layer in layers)
    stored = sum(layer.bytes.values + layer.bytes.indices + layer.bytes.bias for layer in layers)
    return [
        run.name,
        percent(run.summary.accuracy),
        f"{percent(best.accuracy)} ({best.epoch})",
        f"{connections:,}",
        percent(connections / sum(layer.shape[0] * layer.shape[1] for layer in layers)),
        size(stored),
        duration(run.summary.seconds),
    ]


def _speed(runs: Sequence[Run]) -> str:
    """Frozen networks beside dense torch of the same session, for the runs that were measured."""
    measured = [(run, run.speed) for run in runs if run.speed]
    if not measured:
        return ""
    batches = sorted({batch for _, speed in measured for batch in speed.seconds})
    columns = ["frozen network", "file"]
    for batch in batches:
        columns += [f"batch {batch}", "against dense"]
    rows = []
    for run, speed in measured:
        cells = [run.name, size(speed.bytes)]
        for batch in batches:
            ours, dense = speed.seconds.get(batch), speed.dense_seconds.get(batch)
            cells += [
                duration(ours) if ours else NOTHING,
                f"{dense / ours:.2f} x" if ours and dense else NOTHING,
            ]
        rows.append(cells)
    said = "; ".join(
        dict.fromkeys(f"{speed.machine}, {many(speed.threads, 'thread')}" for _, speed in measured)
    )
    return page.table(columns, rows) + page.note(
        f"Median latency, against dense torch of the same session. {said}"
    )


def _settings(runs: Sequence[Run]) -> str:
    flat = [{"data": run.document.data.name, **dict(_flatten(run.document.config))} for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    rows = [[name, *(settings.get(name, NOTHING) for settings in flat)] for name in names]
    rows = [row for row in rows if set(row[1:]) != {NOTHING}]
    differing = [number for number, row in enumerate(rows) if len(set(row[1:])) > 1]
    return page.table(["setting", *(run.name for run in runs)], rows, differing)


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NOTHING if value is None else str(value)


def _run(run: Run, kept: tuple[list[Moment], str], *, unfolded: bool) -> str:
    """A run's own section."""
    moments, unread = kept
    drawn = []
    if run.updates:
        drawn.append((draw.updates(run), "Connections gained and lost at each update"))
        drawn.append((draw.active_neurons(run), "Neurons with at least one connection"))
        if any(row.dropped > row.grown for row in run.updates):
            drawn.append((draw.connections_left(run), "Connections that are left of those at the start"))
    if run.summary and any(layer.density < 1 for layer in run.summary.layers):
        drawn.append((draw.fan_in(run), "Fan-in at the end: neurons by number of inputs"))
    if draw.is_image(run):
        drawn.append((draw.pixels(run), "Connections that leave each pixel, start and end"))
    drawn += travelled(moments)
    said = page.note(f"Topologies are not shown: {unread}") if unread else ""
    return page.fold(run.name, page.figures(*drawn), said, _layers(run), unfolded=unfolded)


def _layers(run: Run) -> str:
    if run.summary is None:
        return page.note("Not finished yet.")
    columns = (
        "layer",
        "kind",
        "inputs",
        "neurons",
        "active",
        "connections",
        "density",
        "values",
        "indices",
        "bias",
    )
    rows = [
        [
            layer.name,
            layer.kind,
            f"{layer.shape[1]:,}",
            f"{layer.shape[0]:,}",
            f"{layer.active:,}",
            f"{layer.connections:,}",
            percent(layer.density),
            size(layer.bytes.values),
            size(layer.bytes.indices),
            size(layer.bytes.bias),
        ]
        for layer in run.summary.layers
    ]
    return page.table(columns, rows)
