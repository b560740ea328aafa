"""Arithmetic that a caller of ``freeze`` allowed: whether the network can have it, and whether anything uses it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from gossamer.errors import DtypeError, SparseEfficiencyWarning
from gossamer.kernels.units import lacking
from gossamer.layouts import layout, layouts
from gossamer.layouts.values import FLOAT32
from gossamer.measure import machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.freezing.frozen import Frozen
    from gossamer.network.graph import Graph
    from gossamer.network.plan import LayerPlan

SHOWN = 3  # reasons why a layer cannot use it


def check_arithmetic(graph: Graph, compute: str) -> None:
    """Refuse other arithmetic for a network of float64, whose caller wanted more digits and not fewer.

    Args:
        graph: Graph.
        compute: as ``freeze`` takes it.

    Raises:
        DtypeError.
    """
    for node, body in graph.linears():
        if compute != FLOAT32 and body.connections.dtype == "float64":
            raise DtypeError(
                f"freeze(compute={compute!r})",
                expected="a network of float32",
                got=f"{node.name} of float64, which computes in float64",
                hint="leave compute out, or call model.float() first",
            )


def with_use(frozen: Frozen, compute: str) -> Frozen:
    """The frozen network, whose report and a warning say where the arithmetic that was allowed is not used at all.

    Args:
        frozen: Frozen - it gets the note.
        compute: as ``freeze`` takes it.

    Cost: O(layers).
    """
    if compute == FLOAT32:
        return frozen
    rows, kinds = frozen.report.layers, [name for name in layouts if layout(name).compute == compute]
    if any(run.partition("/")[0] in kinds for row in rows for run in row.runs):
        return frozen
    if any(tried.engine and tried.layout in kinds for row in rows for tried in row.candidates):
        note = f"compute={compute!r} is not used: other forms were measured at least as fast in every layer"
    else:
        note = f"compute={compute!r} is not used: no layer can compute in it{_why(rows, kinds)}"
        warnings.warn(f"freeze: {note}", SparseEfficiencyWarning, stacklevel=3)
    notes = [*frozen.report.notes, note[:2000]]
    frozen.report = frozen.report.model_copy(update={"notes": notes})
    return frozen


def _why(rows: list[LayerPlan], kinds: list[str]) -> str:
    """What stands against it in the first layer."""
    if not kinds:
        return "; there is no layout for it"
    against = [
        f"{row.layout}: {row.why}" for layer in rows[:1] for row in layer.candidates if row.layout in kinds
    ]
    return f" ({'; '.join(against[:SHOWN])})" if against else ""


def missing_units(graph: Graph) -> list[str]:
    """A line for every layout of a frozen network whose kernels are made for a unit that is not used here.

    Args:
        graph: Graph - frozen.

    Cost: O(layers).
    """
    used = {
        choice.layout for _, layer in graph.layers() for choice in layer.choices if choice.engine == "core"
    }
    found = {name: lacking(name) for name in sorted(used)}
    return [
        f"note: {why}: {name} gives the same bits without it, and takes longer"
        for name, why in found.items()
        if why
    ]


def chosen_elsewhere(measured: Mapping[str, Any]) -> list[str]:
    """A line where a network was measured on another processor than this one: its choices may not be the fastest here.

    Args:
        measured: the plan's machine; empty where nothing was measured.

    Cost: a few small files of the system.

    Example:
        >>> chosen_elsewhere({"cpu": "Z80", "instruction_sets": []})[0].partition(":")[0]
        'note'
    """
    here = machine()
    if not measured or all(measured.get(key) == here[key] for key in ("cpu", "instruction_sets")):
        return []
    return [
        f"note: the forms were chosen on {measured.get('cpu') or 'another processor'}; this one is {here['cpu']}"
    ]
