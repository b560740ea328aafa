"""What a connection is worth when a network is pruned; one file a score."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.compress.scores.base import Score, Task, scores
from gossamer.registry import discover

discover(__name__, list(__path__))

__all__ = ["Score", "Task", "scores"]
