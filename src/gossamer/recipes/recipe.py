"""The file of a recipe: one model, one data set, and stages in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gossamer.errors import ConfigError
from gossamer.recipes.stages import Stage, stages
from gossamer.runs.config import DENSE, RunConfig, checked_config, describe_problem, read_toml

if TYPE_CHECKING:
    from pathlib import Path

MOST_STAGES = 100


class Sensitivity(BaseModel):
    """What each layer can lose by itself, measured before the first stage.

    Args:
        densities: floats in (0, 1).
        pattern, score: as ``gossamer.prune`` takes them.
        samples: int - test samples to measure on, the first ones; 0: all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    densities: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1, max_length=20)
    ] = (
        0.5,
        0.2,
        0.1,
        0.05,
    )
    pattern: str = "unstructured"
    score: str = "magnitude"
    samples: Annotated[int, Field(ge=0)] = 1000


class Recipe(BaseModel):
    """A recipe.

    Args:
        weights: str or None - a state_dict in safetensors, or of torch.save, read without running code; None: the model
            is new, and a stage has to train it.
        data, data_root, image_size, readers, model, widths, augment, seed, threads: as in ``RunConfig``.
        sensitivity: see Sensitivity; None leaves it out.
        stage: dicts with a ``kind`` and its settings, in order; see ``gossamer.recipes.stages``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: str | None = None
    data: str
    data_root: str | None = None
    image_size: int | None = None
    readers: int | None = None
    model: dict[str, Any] | None = None
    widths: tuple[int, ...] | None = None
    augment: str = "none"
    seed: int = 0
    threads: int | None = None
    sensitivity: Sensitivity | None = None
    stage: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MOST_STAGES)]

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        made = self.stages()
        last = [number for number, stage in enumerate(made[:-1], 1) if stage.last]
        if last:
            raise ValueError(f"stage {last[0]} ({made[last[0] - 1].name}) has to be the last one")
        return self

    def stages(self) -> list[Stage]:
        """The stages, checked."""
        return [_stage(number, settings) for number, settings in enumerate(self.stage, 1)]

    def config(self, **settings: Any) -> RunConfig:
        """What a training of the model is told: the dense one, whatever a stage has made of it since."""
        names = (
            "data",
            "data_root",
            "image_size",
            "readers",
            "model",
            "widths",
            "augment",
            "seed",
            "threads",
        )
        given = {name: getattr(self, name) for name in names}
        known = {name: value for name, value in given.items() if value is not None}
        return checked_config({**known, "pattern": DENSE, "topologies": 0, **settings}, "of a recipe")


def read_recipe(path: Path) -> Recipe:
    r"""A checked recipe from a TOML file; paths in it are those of the folder in which the command runs.

    Raises:
        ConfigError: not TOML, unknown stages or settings, values out of range. FileNotFoundError.
    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> file = Path(tempfile.mkdtemp()) / "a.toml"
        >>> _ = file.write_text('data = "digits"\n[[stage]]\nkind = "prune"\ndensity = 0.1\n')
        >>> read_recipe(file).stages()[0].density
        0.1
    """
    return checked_recipe(read_toml(path), str(path))


def checked_recipe(document: Any, where: str) -> Recipe:
    """A Recipe from plain data; raises ConfigError with one sentence that names every wrong setting."""
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(describe_problem(problem) for problem in error.errors(include_url=False))
        raise ConfigError(f"recipe {where}", expected="valid settings", got=wrong) from None
    recipe.config()  # refuses what no training takes
    return recipe


def _stage(number: int, settings: dict[str, Any]) -> Stage:
    """A stage; raises ConfigError with its number."""
    where = f"stage {number}"
    if not isinstance(kind := settings.get("kind"), str):
        raise ConfigError(where, expected=f"kind, one of {', '.join(stages)}", got=repr(kind))
    given = {name: value for name, value in settings.items() if name != "kind"}
    try:
        return stages[kind].model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(describe_problem(problem) for problem in error.errors(include_url=False))
        raise ConfigError(f"{where} ({kind})", expected="valid settings", got=wrong) from None
    except ConfigError as error:
        raise error.within(where) from None
