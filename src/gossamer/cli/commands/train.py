"""``gossamer train``: a training from a configuration, into a run folder that survives a kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import duration, many, size

if TYPE_CHECKING:
    from rich.console import Group

    from gossamer.runs.config import RunConfig
    from gossamer.runs.options import Option


def _flags() -> list[Option]:
    from gossamer.runs.options import options

    return options()


@command(_flags, plug_ins=True)
def train(
    out: Output,
    overrides: dict[str, Any],
    config: Annotated[Path | None, typer.Argument(help="TOML file.", exists=True, dir_okay=False)] = None,
    run: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; by default in runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that is in the run folder.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any setting: rule.gamma=0.5")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Also save every so many steps.")
    ] = None,
) -> None:
    """Train a sparse network; kill it whenever you like and go on with --resume.

    Examples:
        gossamer train --data digits --density 0.1
        gossamer train --data cifar10 --model resnet20 --density 0.1 --augment standard
        gossamer train --data folder --data-root pets --model resnet18 --density 0.1
    """
    from gossamer.runs.config import parse_settings, read_config
    from gossamer.runs.execute import execute
    from gossamer.runs.folder import begin, reopen
    from gossamer.runs.launch import join, launch, started_by_torchrun

    overrides |= parse_settings(settings or [])
    if resume is not None:
        if overrides or config or fresh or run:
            raise ConfigError(
                "train --resume",
                expected="no other settings",
                got="some",
                hint="a resumed run takes its settings from its folder",
            )
        folder, wanted = resume, None
    else:
        wanted = read_config(config, overrides)
        folder = run or _default_folder(wanted)
    if started_by_torchrun():
        answer = join(folder, wanted, fresh=fresh, checkpoint_every=checkpoint_every, quiet=out.quiet)
        if answer is not None:
            out.result({"run": str(folder), **answer}, lambda: _view(folder, answer))
        return
    checked, samples = begin(folder, wanted, fresh=fresh) if wanted else reopen(folder)
    out.remark(f"data {samples.name}: {samples.count:,} samples to train on, {samples.classes} classes")
    out.remark(f"run folder {folder}; if this stops, go on with: gossamer train --resume {folder}")
    if checked.parallel:
        summary = launch(folder, checked, checkpoint_every=checkpoint_every, quiet=out.quiet)
    else:
        with out.progress() as progress:
            summary = execute(folder, checked, samples, progress, checkpoint_every=checkpoint_every)
    out.result({"run": str(folder), **summary}, lambda: _view(folder, summary))


def _default_folder(config: RunConfig) -> Path:
    """A name that says what the run is."""
    parts = [
        config.data,
        (config.model or {}).get("name", ""),
        (config.rule or {}).get("name", ""),
        config.pattern.replace(":", "-"),
        f"seed{config.seed}",
    ]
    return Path("runs") / "-".join(str(part).replace("/", "_") for part in parts if part)


def _view(folder: Path, summary: dict[str, Any]) -> Group:
    """The summary for people."""
    best = summary["best"]
    rows = [
        [
            layer["name"],
            layer["kind"],
            f"{layer['shape'][1]} -> {layer['shape'][0]}",
            f"{layer['connections']:,}",
            f"{layer['active']:,}",
            size(sum(layer["bytes"].values())),
        ]
        for layer in summary["layers"]
    ]
    title = (
        f"{folder}: accuracy {100 * summary['accuracy']:.2f} % after {many(summary['epochs'], 'epoch')} "
        f"(best {100 * best['accuracy']:.2f} % in epoch {best['epoch']}), took {duration(summary['seconds'])}"
    )
    return table(
        title, ["layer", "kind", "inputs -> neurons", "connections", "active neurons", "bytes"], rows
    )
