"""Freezing again as a plan says: nothing is measured, and the same model gives the same bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import storage
from gossamer.errors import ConfigError, FormatError
from gossamer.freezing.frozen import Frozen
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import NARROW, narrowed
from gossamer.network.conv_step import unfit
from gossamer.network.graph import Choice, Graph, frozen
from gossamer.network.plan import BatchPlan, Candidate, LayerPlan, Plan
from gossamer.network.schema import KIND, VERSIONS, parse
from gossamer.network.store import lost
from gossamer.network.verify import check_batches
from gossamer.registry import check_choice

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry

ENGINES = ("core", "torch")
Source = Plan | Frozen | dict[str, Any] | str | Path


def plan_of(source: Any) -> Plan:
    """The plan in any of its homes.

    Args:
        source: Source - a Plan, a frozen network, its ``plan``, or a file: one that ``save`` wrote, or JSON.

    Raises:
        FormatError: a file or dict that holds no plan. ConfigError: something else. FileNotFoundError.

    Example:
        >>> plan_of({"batches": [{"batch": 4}]}).batches[0].batch
        4
    """
    if isinstance(source, Frozen):
        return source.report
    if isinstance(source, Plan):
        return source
    if isinstance(source, dict):
        return parse(Plan, source, "freeze(plan=)")
    if not isinstance(source, (str, Path)):
        got = type(source).__name__
        raise ConfigError("freeze(plan=)", expected="a plan, a frozen network, or a file of either", got=got)
    return parse(Plan, _read(Path(source)), f"freeze(plan={str(source)!r})")


def _read(path: Path) -> Any:
    """The plan's JSON out of a file."""
    if path.suffix != ".json":
        return storage.read(path, KIND, VERSIONS)[1].get("report")
    if path.stat().st_size > storage.LARGEST_METADATA:
        raise FormatError(
            "freeze(plan=)",
            expected=f"a plan of at most {storage.LARGEST_METADATA:,} bytes",
            got=f"{path.stat().st_size:,} bytes",
        )
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise FormatError("freeze(plan=)", expected="a plan as JSON", got=str(error)) from None


def repeated(graph: Graph, plan: Plan) -> tuple[Graph, list[BatchPlan], dict[str, list[Candidate]]]:
    """Every linear layer in the forms that the plan names.

    Args:
        graph: Graph - dead neurons removed, activations fused, values exact.
        plan: Plan.

    Returns:
        (Graph, the plan's batch classes, layer -> what was tried when the plan was made).

    Raises:
        ConfigError: layers, shapes or types of values that are not those of the plan, or a form that cannot hold its
            layer. FormatError: batch classes that do not ascend.

    Cost: O(connections log connections).
    """
    check_batches(plan)
    rows = {row.name: row for row in plan.layers}
    names = [node.name for node, _ in graph.linears()]
    if sorted(names) != sorted(row.name for row in plan.layers):
        differ = ", ".join(sorted(set(names) ^ set(rows))[:3]) or "a layer twice"
        raise _misfit("the layers of the plan", f"a difference in {differ}")
    bodies = {}
    for node, body in graph.linears():
        row = rows[node.name]
        choices = _choices(row, len(plan.batches), body.geometry)
        connections = _as_planned(body.connections, row)
        forms = {choice.layout: _form(connections, row, choice.layout) for choice in choices}
        if reason := next(filter(None, (unfit(form, body.geometry) for form in forms.values())), ""):
            raise _misfit(f"layouts that run {row.name!r}", reason)
        stored = _stored(connections, row, forms)
        bodies[node.name] = frozen(replace(body, connections=connections), stored, forms, choices)
    return graph.replaced(bodies), plan.batches, {name: row.candidates for name, row in rows.items()}


def _choices(row: LayerPlan, classes: int, geometry: Geometry | None) -> tuple[Choice, ...]:
    """How a layer runs in each batch class."""
    choices = tuple(Choice(*run.split("/", 1)) for run in row.runs if run.count("/") == 1)
    if len(choices) != classes or len(row.runs) != classes:
        raise _misfit(f"{classes} runs of {row.name!r}", f"{row.runs}")
    for choice in choices:
        check_choice(f"freeze(plan=): layouts that run {row.name!r}", choice.layout, layouts)
        check_choice(f"freeze(plan=): engines that run {row.name!r}", choice.engine, ENGINES)
        if choice.engine == "torch" and choice.layout not in ("dense", "slice"):
            raise _misfit(f"runs of {row.name!r} that are known", f"{choice.layout}/{choice.engine}")
    return tuple(choice.of(geometry) for choice in choices)


def _as_planned(connections: Connections, row: LayerPlan) -> Connections:
    """The connections with values of the plan's type, once shape and type are known to be the plan's."""
    if connections.shape != row.shape:
        raise _misfit(f"{row.name!r} of shape {list(row.shape)}", str(list(connections.shape)))
    name = connections.dtype
    if name == row.values:  # a model of bfloat16 has such values without any rounding
        return connections
    if row.values in NARROW:
        return narrowed(connections, row.values)
    raise _misfit(f"{row.name!r} of {row.values}", name)


def _form(connections: Connections, row: LayerPlan, name: str) -> Encoded:
    fits = layout(name).runs(connections)
    if isinstance(fits, str):
        raise _misfit(f"{row.name!r} in layout {name}", fits)
    return layout(name).encode(connections, fits)


def _stored(connections: Connections, row: LayerPlan, forms: dict[str, Encoded]) -> Encoded:
    """The form of the file that the plan was made with."""
    check_choice(f"freeze(plan=): stored layout of {row.name!r}", row.stored, layouts)
    if not layout(row.stored).exact:
        raise _misfit(f"{row.name!r} stored with its values to the bit", row.stored)
    if list(forms) == [row.stored]:
        return forms[row.stored]
    stored = _form(connections, row, row.stored)
    if lost(stored, connections, forms):
        raise _misfit(f"{row.name!r} stored so that its runs can be made from it", row.stored)
    return forms.get(row.stored, stored)


def _misfit(expected: str, got: str) -> ConfigError:
    return ConfigError(
        "freeze(plan=)", expected=expected, got=got, hint="freeze without a plan to make a new one"
    )
