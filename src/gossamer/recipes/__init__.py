"""Recipes: a file that says how a network becomes small, and the folder in which that happens."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.recipes.recipe import Recipe, read_recipe
from gossamer.recipes.running import begin, reopen, run

__all__ = ["Recipe", "begin", "read_recipe", "reopen", "run"]
