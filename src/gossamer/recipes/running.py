"""A recipe in its folder: begun, stopped anywhere, and gone on with."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.compress.sensitivities import sensitivity
from gossamer.errors import ConfigError, DataError, FormatError
from gossamer.recipes.facts import digest, facts
from gossamer.recipes.recipe import Recipe, Sensitivity, checked_recipe
from gossamer.recipes.work import begin_work
from gossamer.runs.journal import Journal, write_json
from gossamer.runs.known import check_known
from gossamer.runs.loop import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from gossamer.recipes.stages import Stage, Work

RECIPE, ROWS, SENSITIVITY, REPORT = "recipe.json", "stages.jsonl", "sensitivity.json", "report.html"
LARGEST = 64 << 20  # bytes of a file of the folder
Row = dict[str, Any]


def begin(folder: Path, recipe: Recipe) -> None:
    """Make the folder of a recipe, once its data, network and weights are known to be there.

    Raises:
        ConfigError: there is something in the folder, or weights that do not fit. DataError, FormatError,
            FileNotFoundError; nothing is written then.
    Cost: that of the data, and of the network.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = folder / RECIPE
        hint = f"go on with --resume {folder}" if there.is_file() else "choose another one"
        raise ConfigError(
            f"recipe folder {folder}", expected="a new or empty folder", got="files in it", hint=hint
        )
    begin_work(recipe)
    document = {"version": 1, "recipe": recipe.model_dump(mode="json"), "weights": _hash(recipe)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, document)


def reopen(folder: Path) -> Recipe:
    """The recipe of a folder.

    Raises:
        FileNotFoundError: no recipe. FormatError, ConfigError: a damaged one. DataError: other weights.
    Cost: reads the file of weights.
    """
    document = _read(folder / RECIPE)
    if not isinstance(document, dict) or document.get("version") != 1:
        raise FormatError(f"resume {folder}", expected="a recipe of version 1", got="another document")
    recipe = checked_recipe(document.get("recipe"), str(folder / RECIPE))
    check_known(f"resume {folder}", recipe.config(), "data", "model")
    if _hash(recipe) != document.get("weights"):
        raise DataError(
            f"resume {folder}", expected=f"the {recipe.weights} it began with", got="other content"
        )
    return recipe


def run(
    folder: Path, recipe: Recipe, progress: Progress, told: Callable[[Row], None] = lambda _: None
) -> list[Row]:
    """Take the stages that are left.

    Args:
        folder: Path - from ``begin``.
        recipe: Recipe.
        progress: rich Progress - gets a bar a stage.
        told: called with the row of every stage, as it ends or is found finished.
    Returns:
        list of dict - a row for the start and for each stage.
    Raises:
        FormatError: a folder whose finished stages do not give the same again. What stages raise.
    Cost: that of the stages.
    """
    journal = Journal(folder / ROWS)
    work = begin_work(recipe)
    rows = _finished(journal)
    if (asked := recipe.sensitivity) is not None and not (folder / SENSITIVITY).is_file():
        write_json(folder / SENSITIVITY, _sensitivity(asked, work, progress))
    for number, stage in enumerate((None, *recipe.stages())):
        place = folder / (f"{number}-{stage.name}" if stage else "")
        place.mkdir(exist_ok=True)
        if number < len(rows):
            _again(stage, work, place, progress, rows[number])
        else:
            rows.append(_take(number, stage, work, place, progress))
            journal.append([rows[number]])
        told(rows[number])
    return rows


def read_rows(folder: Path) -> tuple[Recipe, list[Row], list[Row]]:
    """Recipe, rows of the stages that are finished, and points of the sensitivity, of a folder."""
    points = _read(folder / SENSITIVITY) if (folder / SENSITIVITY).is_file() else []
    return reopen(folder), _finished(Journal(folder / ROWS)), points


def _take(number: int, stage: Stage | None, work: Work, place: Path, progress: Progress) -> Row:
    """Run a stage and measure what it left."""
    began = time.perf_counter()
    note = stage.run(work, place, progress) if stage else "as it came"
    seconds = round(time.perf_counter() - began, 3)
    name = stage.name if stage else "start"
    return {"step": number, "stage": name, "note": note, "seconds": seconds, **facts(work)}


def _again(stage: Stage | None, work: Work, place: Path, progress: Progress, row: Row) -> None:
    """Bring the model to where a finished stage left it; raises FormatError where it gets elsewhere."""
    if stage is not None:
        stage.again(work, place, progress)
    if digest(work.model) != row.get("digest"):
        raise FormatError(
            f"resume {place}",
            expected="the model that the stage left",
            got="another one",
            hint="data, weights, a file in the folder, threads or the processor are others; begin in a new folder",
        )


def _sensitivity(asked: Sensitivity, work: Work, progress: Progress) -> list[Row]:
    """Points as rows, under a bar."""
    parts, left = [], asked.samples or None
    for x, y in work.samples.testing():
        parts.append((x[:left], y[:left]))
        left = None if left is None else left - len(x)
        if left is not None and left <= 0:
            break
    bar = progress.add_task("sensitivity", total=None, note="")
    rows = []
    for point in sensitivity(
        work.model,
        lambda model: evaluate(model, parts)[1],
        asked.densities,
        pattern=asked.pattern,
        score=asked.score,
    ):
        rows.append({"layer": point.layer, "density": point.density, "accuracy": point.accuracy})
        progress.update(bar, advance=1, note=f"{point.layer} at {point.density:.0%}: {point.accuracy:.1%}")
    progress.update(bar, total=len(rows), completed=len(rows))
    return rows


def _finished(journal: Journal) -> list[Row]:
    """Rows that are on disk, in order; raises FormatError."""
    if not journal.path.is_file():
        return []
    _size(journal.path)
    journal.cut(1 << 30)
    rows = [json.loads(line) for line in journal.path.read_text("utf-8").splitlines()]
    if [row["step"] for row in rows] != list(range(len(rows))):
        raise FormatError(f"read {journal.path}", expected="rows of stages in order", got="others")
    return rows


def _read(path: Path) -> Any:
    """A JSON document; raises FormatError."""
    _size(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"read {path}", expected="JSON", got=str(error)) from None


def _size(path: Path) -> None:
    if path.stat().st_size > LARGEST:
        raise FormatError(
            f"read {path}", expected=f"at most {LARGEST:,} bytes", got=f"{path.stat().st_size:,}"
        )


def _hash(recipe: Recipe) -> str | None:
    """SHA-256 of the file of weights."""
    if recipe.weights is None:
        return None
    with Path(recipe.weights).open("rb") as file:
        found = sha256()
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()
