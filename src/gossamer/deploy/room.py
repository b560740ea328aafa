"""The room of a file's document: it depends on the network alone, not on what was measured."""

from __future__ import annotations

import json
from typing import Any, Final

# What measuring writes, and the most characters of it: a way's seconds in one batch class; what a layer's choice in one
# batch class says, in its run and in the report; what the report says of a batch class.
A_TIME, A_CHOICE, A_CLASS = 26, 220, 260
MEASURED: Final = {"seconds", "chosen", "runs", "run", "memory"}


def room(document: dict[str, Any]) -> int:
    """Characters that a document may take, whichever of its choices were made.

    Args:
        document: dict - JSON-ready, as ``save`` writes it.

    Returns:
        int - at least its own length, and the same for every freeze of a network with the same wishes. Times, choices
        and their reasons are counted by the most that they may take.

    Example:
        >>> batches = {"batches": [{"batch": 1, "seconds": {"core": 1e-05}, "chosen": "core"}], "layers": []}
        >>> later = {"batches": [{"batch": 1, "seconds": {"core": 1.25e-05}, "chosen": "dense"}], "layers": []}
        >>> room({"report": batches}) == room({"report": later}) > len(json.dumps(later))
        True
    """
    report = document["report"]
    classes, layers = len(report["batches"]), report["layers"]
    ways = sum(bool(row["engine"]) for layer in layers for row in layer["candidates"])
    measured = classes * (ways * A_TIME + len(layers) * A_CHOICE + A_CLASS)
    return len(json.dumps(_blank(document))) + measured


def _blank(part: Any) -> Any:
    """The document without what was measured."""
    if isinstance(part, list):
        return [_blank(each) for each in part]
    if not isinstance(part, dict):
        return part
    hidden = MEASURED | ({"why"} if part.get("engine") else set())
    return {key: None if key in hidden else _blank(value) for key, value in part.items()}
