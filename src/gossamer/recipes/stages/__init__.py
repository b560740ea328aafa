"""Stages of a recipe; one file each."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.recipes.stages.base import Stage, Work, stages
from gossamer.registry import discover

discover(__name__, list(__path__))

__all__ = ["Stage", "Work", "stages"]
