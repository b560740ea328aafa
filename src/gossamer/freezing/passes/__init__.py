"""Rewrites of a graph that is being frozen: one file each, found by existing, run in the order that they state."""

from gossamer.freezing.passes.base import Removal, Rewritten, graph_pass, graph_passes, passes, rewritten
from gossamer.registry import discover

discover(__name__, __path__)

__all__ = ["Removal", "Rewritten", "graph_pass", "graph_passes", "passes", "rewritten"]
