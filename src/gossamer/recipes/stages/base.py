"""A stage: what is done to the model, in a folder of its own, so that a kill loses at most that stage's last step."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from gossamer.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from rich.progress import Progress
    from torch import nn

    from gossamer.recipes.recipe import Recipe
    from gossamer.runs.samples import Source

stages: Registry[type[Stage]] = Registry("stage", group="gossamer.stages")


@dataclass
class Work:
    """What stages work on.

    Args:
        recipe: Recipe.
        model: nn.Module - as the stage before left it; a stage changes it, or puts another in its place.
        samples: Source.
        shape: tuple of int - of a sample as the model reads it.
        original: nn.Module - as it was before the first stage.
        file: Path or None - of what a stage has written for use.
        teacher: nn.Module or None - a copy of the model as it was before the first stage that pruned.
        values: str, or layer name -> str - types of values that a stage has rounded to.
    """

    recipe: Recipe
    model: nn.Module
    samples: Source
    shape: tuple[int, ...]
    original: nn.Module
    file: Path | None = None
    teacher: nn.Module | None = None
    values: str | dict[str, str] = "exact"

    def batches(self, count: int, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The first training batches, augmented as in training."""
        config = self.recipe.config(batch=size)
        return list(islice(self.samples.training(config, 0, 0, 0, 1), count))


class Stage(BaseModel):
    """Base of all stages: settings are its fields; subclass and register.

    ``last``: nothing can follow, since what it leaves is no module to change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    name: ClassVar[str]
    last: ClassVar[bool] = False

    @abstractmethod
    def run(self, work: Work, folder: Path, progress: Progress) -> str:
        """Do it, from wherever the folder stands; the same again gives the same.

        Args:
            work: Work.
            folder: Path - of the stage; there, and empty at first.
            progress: rich Progress - for a bar where it takes long.
        Returns:
            str - a few words for the table.
        """

    def again(self, work: Work, folder: Path, progress: Progress) -> None:
        """Bring the model to where the finished stage left it."""
        self.run(work, folder, progress)

    def describe(self) -> dict[str, Any]:
        """Kind and settings, as plain data."""
        return {"kind": self.name, **self.model_dump(mode="json")}
