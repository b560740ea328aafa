"""``gossamer compress``: a trained network becomes small by a recipe, with its accuracy at every stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import percent

if TYPE_CHECKING:
    from rich.console import Group


@command(plug_ins=True)
def compress(
    out: Output,
    recipe: Annotated[
        Path | None, typer.Argument(help="TOML file.", exists=True, dir_okay=False, metavar="RECIPE")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder; by default in runs/, named like the recipe.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on in this folder.")] = None,
) -> None:
    """Prune, train, quantize and freeze a network by a recipe; kill it whenever you like and go on with --resume.

    Examples:
        gossamer compress small.toml --out runs/small
        gossamer compress --resume runs/small
    """
    from gossamer.recipes import begin, read_recipe, reopen, run
    from gossamer.report.compression import write_compression

    if (recipe is None) == (resume is None) or (resume and target):
        raise ConfigError("compress", expected="a recipe, or --resume FOLDER alone", got="both or neither")
    if recipe is not None:
        wanted, folder = read_recipe(recipe), target or Path("runs") / recipe.stem
        begin(folder, wanted)
    else:
        folder = Path(str(resume))
        wanted = reopen(folder)
    out.remark(f"folder {folder}; if this stops, go on with: gossamer compress --resume {folder}")
    with out.progress() as progress:
        rows = run(folder, wanted, progress, lambda row: out.remark(_line(row)))
    page = write_compression(folder)
    out.result(
        {"folder": str(folder), "report": str(page), "stages": rows}, lambda: _view(folder, page, rows)
    )


def _line(row: dict[str, Any]) -> str:
    return f"{row['stage']}: {row['note']}; accuracy {percent(row['accuracy'])}"


def _view(folder: Path, page: Path, rows: list[dict[str, Any]]) -> Group:
    """The stages for people."""
    from gossamer.report.compression import COLUMNS, cells

    notes = "\n".join(f"{row['step']} {row['stage']}: {row['note']}" for row in rows)
    return table(f"{folder}; report: {page}", COLUMNS, map(cells, rows), notes)
