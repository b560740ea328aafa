"""The room of a file's document: it depends on the network alone, not on what was measured."""

from __future__ import annotations

from typing import Any, Final

from gossamer.storage import compact, written_length

# What measuring writes, and the most characters of it, those of quotes twice: a way's seconds in one batch class; what
# the choice of a layer in one batch class says, in its run and in the report; what the report says of a batch class,
# and of one beyond those asked for, which are up to three.
A_TIME, A_CHOICE, A_CLASS, BEYOND, MORE = 12, 140, 450, 320, 3
MEASURED: Final = {"seconds", "chosen", "runs", "run", "memory", "stored", "batches"}
A_TYPE = 12  # more than the name of one type of values has than that of another


def room(document: dict[str, Any]) -> int:
    """Characters that a document may take, whichever of its choices were made.

    Args:
        document: dict - JSON-ready, as ``save`` writes it.

    Returns:
        int - at least its own length, see ``storage.written_length``, and the same for every freeze of a network with
        the same wishes. Times, choices and their reasons are counted by the most that they may take.

    Example:
        >>> now, later = ({"chosen": way, "seconds": {way: 1e-05}} for way in ("core", "all csr"))
        >>> plans = [{"report": {"batches": [row], "layers": []}} for row in (now, later)]
        >>> room(plans[0]) == room(plans[1]) > written_length(compact(plans[1]))
        True
    """
    report = document["report"]
    layers, asked = report.get("layers", []), sum(1 for row in report["batches"] if row.get("asked", True))
    ways = sum("engine" in row for layer in layers for row in layer.get("candidates", []))
    each = ways * A_TIME + len(layers) * A_CHOICE
    measured: int = asked * (each + A_CLASS) + (MORE * (each + BEYOND) if ways > len(layers) else 0)
    return written_length(compact(_blank(document))) + measured


def _blank(part: Any) -> Any:
    """The document without what was measured."""
    if isinstance(part, list):
        return [_blank(each) for each in part]
    if not isinstance(part, dict):
        return part
    hidden = MEASURED | ({"why"} if "engine" in part else set())
    blank = {key: _blank(value) for key, value in part.items() if key not in hidden}
    return blank | {"values": "*" * A_TYPE} if "values" in part else blank
