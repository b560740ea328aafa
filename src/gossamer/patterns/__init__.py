"""Which zeros are allowed: one file per pattern."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.layouts.grid import Grid
from gossamer.patterns.base import Index, Pattern, parse, patterns
from gossamer.patterns.block import Block
from gossamer.patterns.fan_in import FanIn
from gossamer.patterns.nm import NM
from gossamer.patterns.unstructured import Unstructured
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["NM", "Block", "FanIn", "Grid", "Index", "Pattern", "Unstructured", "parse", "patterns"]
