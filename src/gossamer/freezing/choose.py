"""Give every linear layer its forms and its choice for each batch size, by measuring."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from gossamer.freezing.candidates import Candidates, candidates
from gossamer.freezing.guard import beyond
from gossamer.freezing.race import Race, race, samples, time_layer, with_choices
from gossamer.network.graph import Choice, Graph

if TYPE_CHECKING:
    from gossamer.freezing.wanted import Wanted

SECONDS_A_LAYER, SECONDS_A_NETWORK = 0.12, 0.25  # at most, of measuring a batch size


class BatchClass(NamedTuple):
    """Batch sizes that run alike: the one measured, the largest (None: any), and how they run."""

    batch: int
    up_to: int | None
    run: Race


class Chosen(NamedTuple):
    """What was chosen: the graph with its forms, what was tried for each layer, and the batch classes."""

    graph: Graph
    found: dict[str, Candidates]
    classes: list[BatchClass]


def choose(graph: Graph, inputs: tuple[Any, ...], wanted: Wanted) -> Chosen:
    """Give every linear layer its forms and choices.

    Args:
        graph: Graph - dead neurons removed, activations fused.
        inputs: the example.
        wanted: Wanted.

    Returns:
        Chosen.

    Raises:
        PatternError: a forced layout that cannot hold its layer.

    Cost: a run of every candidate for about a tenth of a second, then of the whole network; then a few runs of it at
    other batch sizes.
    """
    found = {
        node.name: candidates(
            body.connections,
            wanted.for_layer(node.name),
            wanted.allowed,
            wanted.compute,
            wanted.prefer,
            body.geometry,
        )
        for node, body in graph.linears()
    }
    if all(len(each.ways) == 1 for each in found.values()):
        only = Race({name: each.ways[0] for name, each in found.items()})
        return _chosen(graph, found, classes_of(dict.fromkeys(wanted.batches, only), wanted.batches))
    seen = samples(graph, inputs)
    number = len(wanted.batches)
    share = min(SECONDS_A_LAYER, 0.6 * wanted.seconds / (len(found) * number))
    budget = min(SECONDS_A_NETWORK, 0.4 * wanted.seconds / number)

    def measured(batch: int) -> Race:
        for node, body in graph.linears():
            time_layer(body, found[node.name], seen[node.name], batch, share)
        return race(graph, found, inputs, batch, budget)

    runs = {batch: measured(batch) for batch in wanted.batches}
    runs |= beyond(graph, found, inputs, runs, measured, wanted)
    return _chosen(graph, found, classes_of(runs, wanted.batches))


def classes_of(runs: dict[int, Race], asked: tuple[int, ...]) -> list[BatchClass]:
    """One class for each batch size asked for; others join a neighbour that runs alike, or have one of their own.

    Args:
        runs: batch size -> Race.
        asked: batch sizes that are never joined.

    Returns:
        list of BatchClass: each ends half-way to the next on a logarithmic scale.

    Example:
        >>> few, many = (Race({"fc": Choice(layout, "core")}) for layout in ("csr", "dense"))
        >>> [(row.batch, row.up_to) for row in classes_of({64: many, 1: few}, (1, 64))]
        [(1, 8), (64, None)]
        >>> [(row.batch, row.up_to) for row in classes_of({1: few, 8: few, 32: many, 128: many}, (1,))]
        [(1, 16), (32, None)]
    """
    groups: list[list[int]] = []
    for size in sorted(runs):
        alike = groups and runs[groups[-1][-1]].picks == runs[size].picks
        if alike and not (size in asked and set(groups[-1]) & set(asked)):
            groups[-1].append(size)
        else:
            groups.append([size])
    named = [next((size for size in group if size in asked), group[0]) for group in groups]
    limits = [*(math.isqrt(a[-1] * b[0]) for a, b in pairwise(groups)), None]
    return [BatchClass(size, limit, runs[size]) for size, limit in zip(named, limits, strict=True)]


def _chosen(graph: Graph, found: dict[str, Candidates], classes: list[BatchClass]) -> Chosen:
    picks: dict[str, list[Choice]] = {name: [row.run.picks[name] for row in classes] for name in found}
    return Chosen(with_choices(graph, found, picks), found, classes)
