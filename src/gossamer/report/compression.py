"""The page of a recipe: what every stage left, and what each layer can lose by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.recipes.running import REPORT, read_rows
from gossamer.report import compression_figures as draw
from gossamer.report import page
from gossamer.report.words import duration, percent, size
from gossamer.storage import atomic

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.recipes import Recipe

COLUMNS = (
    "stage",
    "accuracy",
    "connections",
    "density",
    "bytes",
    "one sample",
    "against dense",
    "took",
)


def write_compression(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a recipe, finished or not.

    Args:
        folder: Path.
    Returns:
        Path - of the page.
    Raises:
        FormatError, ConfigError: a damaged folder. FileNotFoundError.
    Cost: about 0.5 s.
    """
    recipe, rows, points = read_rows(folder)
    body = [_stages(rows), *([_sensitivity(points)] if points else [])]
    body.append(page.section("Recipe", page.table(("setting", "value"), _settings(recipe))))
    target = folder / REPORT
    with atomic(target) as part:
        part.write_text(page.page(f"Gossamer: {folder.name}", body), "utf-8")
    return target


def _stages(rows: list[dict[str, Any]]) -> str:
    """What every stage left."""
    return page.section(
        "Stages",
        page.table((*COLUMNS, "what"), [[*cells(row), row["note"]] for row in rows]),
        page.note(
            "On the test set. Bytes: parameters, indices and buffers; of a frozen network its file. One sample: "
            "median time, in turns with the network the recipe began with."
        ),
        page.figures((draw.stages(rows), "Accuracy after every stage")),
    )


def _sensitivity(points: list[dict[str, Any]]) -> str:
    """What each layer can lose by itself."""
    rows = [
        [point["layer"] or "(the model)", percent(point["density"]), percent(point["accuracy"])]
        for point in points
    ]
    caption = "Accuracy with one layer pruned, the others as they were"
    return page.section(
        "Sensitivity",
        page.figures((draw.sensitivity(points), caption)),
        page.fold("All points", page.table(("layer", "density", "accuracy"), rows), unfolded=False),
    )


def cells(row: dict[str, Any]) -> list[str]:
    """The words of a stage, one a column."""
    return [
        f"{row['step']} {row['stage']}",
        percent(row["accuracy"]),
        f"{row['connections']:,}",
        percent(row["density"]),
        size(row["bytes"]),
        duration(row["milliseconds"] / 1e3),
        f"{row['dense_milliseconds'] / row['milliseconds']:.2f} x",
        duration(row["seconds"]),
    ]


def _settings(recipe: Recipe) -> list[list[str]]:
    """What was asked for."""
    given = recipe.model_dump(mode="json", exclude={"stage"}, exclude_none=True)
    rows = [[name, str(value)] for name, value in given.items()]
    for number, stage in enumerate(recipe.stages(), 1):
        said = {name: value for name, value in stage.describe().items() if value not in (None, (), [])}
        rows += [[f"{number} {name}", str(value)] for name, value in said.items()]
    return rows
