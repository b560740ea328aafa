"""The section of a report on topologies: how each travelled, and how far runs are apart."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import GossamerError
from gossamer.report import figures as draw
from gossamer.report import page
from gossamer.runs.moments import Moment, compare, kept_moments
from gossamer.topology import exploration, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 50_000_000  # pairs of neurons that are looked at: some ten seconds


def travelled(moments: Sequence[Moment]) -> list[tuple[str, str]]:
    """Of one run: connections that are still there, and those that ever were, over the steps; one figure or none."""
    if len(moments) < 2:
        return []
    layers = [moment.layers for moment in moments]
    lines = {
        "shared with the first": [overlap(layers[0], each).jaccard for each in layers],
        "shared with the one before": [
            1.0,
            *(overlap(a, b).jaccard for a, b in pairwise(layers)),
        ],
        "explored": exploration(layers),
    }
    said = "Connections shared with earlier topologies, and the share of all that existed so far"
    return [(draw.travel([moment.step for moment in moments], lines), said)]


def topologies_of(folder: Path) -> tuple[list[Moment], str]:
    """The topologies that a run kept, and why there are none where a file cannot be read."""
    try:
        return kept_moments(folder), ""
    except GossamerError as error:
        return [], str(error)


def apart(last: Sequence[Moment]) -> str:
    """The section on the distances of runs of one shape from each other; empty where there are no two."""
    groups: dict[tuple[object, ...], list[Moment]] = {}
    for moment in last:
        shape = tuple((name, layer.shape) for name, layer in moment.layers.items())
        groups.setdefault((moment.row, *shape), []).append(moment)
    parts = [_square(group) for group in groups.values() if len(group) > 1]
    return page.section("Topologies", *parts) if parts else ""


def _square(group: Sequence[Moment]) -> str:
    neurons = [layer.shape[0] for layer in group[0].layers.values()]
    if len(group) * (len(group) - 1) // 2 * sum(number**2 for number in neurons) > MOST:
        said = f"{len(group)} runs with layers of up to {max(neurons):,} neurons would take long to match"
        return page.note(f"{said}: gossamer compare measures how far they are apart.")
    found = compare(group)
    names = [moment.run for moment in group]
    rows = [
        [names[a], names[b], f"{found.distances[a, b]:.3f}", f"{found.unmatched[a, b]:.3f}"]
        for a, b in combinations(range(len(names)), 2)
    ]
    how = "Neurons are matched" + ("." if found.followed else ", inputs of each layer as they are numbered.")
    return (
        page.figures((draw.distances(names, found.distances.tolist()), "Distances of topologies (NNSTD)"))
        + page.table(("run", "and run", "distance", "neurons as numbered"), rows)
        + page.note(f"0 is what a network is from itself, {found.chance.value:.3f} what chance gives. {how}")
    )
