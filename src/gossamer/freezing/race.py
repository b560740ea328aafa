"""Which form of a layer is fastest here: every one that may run is tried on the layer's own inputs, dense included.

The times compared are tenth percentiles of interleaved, warm runs: what the machine does while nobody disturbs it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gossamer.freezing.candidates import TIE, Candidates
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.layouts import layout
from gossamer.measure import alternate
from gossamer.network.graph import Choice, Graph, Linear, Node, frozen
from gossamer.network.order import fed_by_core
from gossamer.network.program import Program
from gossamer.trace.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from gossamer.network.chain_step import Step

HOPELESS = 1.5  # times the core's best, layer by layer: one layout everywhere that takes longer is not timed as a whole
OUTSIDE = 1.1  # times faster than the core's best: then layers run in torch, which the runtime does not have

Picks = dict[str, Choice]  # layer -> how it runs


class Race(NamedTuple):
    """How a network runs at one batch size: what was chosen, the times of all ways tried, and why this one."""

    picks: Picks
    chosen: str = ""
    times: Mapping[str, float] = {}
    why: str = ""


def samples(graph: Graph, inputs: tuple[Any, ...]) -> dict[str, tuple[Tensor, int]]:
    """What every layer reads of the example, and how many rows of it a sample of the batch gives.

    A linear layer reads [rows, in], a convolution [batch, channels, height, width].
    """
    seen: dict[str, tuple[Tensor, int]] = {}

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        if isinstance(node.body, Linear) and node.body.geometry is not None:
            x = given[0] if given[0].dim() == 4 else given[0][None]
            seen[node.name] = x, max(1, x.shape[0] // inputs[0].shape[0])
        elif isinstance(node.body, Linear):
            x = given[0].reshape(-1, node.body.connections.shape[1])
            if (
                fed_by_core(graph, node) and x.shape[0] > 1
            ):  # the core hands activations on feature by feature
                x = x.t().contiguous().t()
            seen[node.name] = x, max(1, x.shape[0] // inputs[0].shape[0])

    run(graph, inputs, watch)
    return seen


def time_layer(
    body: Linear, found: Candidates, sample: tuple[Tensor, int], batch: int, seconds: float
) -> None:
    """Time every way to run a layer at a batch size, where it is worth it; fills ``seconds`` and ``unmeasured``."""
    x, rows = sample
    x = resized(x, rows * batch)
    calls: dict[str, Any] = {}
    for way in found.ways:
        reason = "" if found.named else layout(way.layout).unpromising(rows * batch)
        if reason:
            found.unmeasured[way] = reason
        else:
            calls[str(way)] = partial(_step(body, found, way), x)
    times = alternate(calls, seconds=seconds)
    found.seconds[batch] = {way: times[str(way)].p10 for way in found.ways if str(way) in times}


def _step(body: Linear, found: Candidates, way: Choice) -> Step:
    form = found.forms[way.layout]
    layer = frozen(body, form, {way.layout: form}, (way,))
    return Program(Graph(("x",), (Node("layer", ("x",), layer),), "layer"), 0, TENSORS).shortest()


def resized(x: Tensor, batch: int) -> Tensor:
    """The example repeated or cut along its first dimension; its memory order stays."""
    if x.shape[0] == batch:
        return x
    by_feature = x.dim() == 2 and x.stride(0) == 1 and x.shape[0] > 1
    picked = x[torch.arange(batch) % x.shape[0]]
    return picked.t().contiguous().t() if by_feature else picked


def program(graph: Graph, found: dict[str, Candidates], picks: Picks) -> Program:
    """The network as it runs with these choices."""
    return Program(with_choices(graph, found, {name: [choice] for name, choice in picks.items()}), 0, TENSORS)


def with_choices(graph: Graph, found: dict[str, Candidates], picks: dict[str, list[Choice]]) -> Graph:
    """The graph with these choices, one for each batch class, and the forms they need."""
    bodies = {}
    for node, body in graph.linears():
        chosen, each = tuple(picks[node.name]), found[node.name]
        forms = {choice.layout: each.forms[choice.layout] for choice in chosen}
        stored = each.stored(forms)
        bodies[node.name] = frozen(body, stored, forms, chosen)
    return graph.replaced(bodies)


def race(
    graph: Graph, found: dict[str, Candidates], inputs: tuple[Any, ...], batch: int, seconds: float
) -> Race:
    """Time the whole network at one batch size, and keep the fastest way; of those as fast, the smallest.

    Layer by layer the best; everything in the core, in as few calls as there are chains; everything in one layout, as
    far as it goes; everything dense. Layers of a network share the caches, so what is best for each alone is
    not always best for all.
    """
    ways = _ways(found, batch)
    given = tuple(resized(x, batch) if isinstance(x, Tensor) else x for x in inputs)
    calls = {way: partial(program(graph, found, picks), *given) for way, picks in ways.items()}
    times = {way: timing.p10 for way, timing in alternate(calls, seconds=seconds).items()}
    outside = {way for way, picks in ways.items() if _leaves(picks)}
    chosen, why = picked(times, outside, lambda way: _weight(found, ways[way]))
    return Race(ways[chosen], chosen, times, why)


def picked(
    times: Mapping[str, float], outside: AbstractSet[str], weight: Callable[[str], tuple[int, int]]
) -> tuple[str, str]:
    """The fastest way, of those as fast the smallest, and why; one that leaves the core must be worth it.

    Example:
        >>> picked({"core": 1.0, "mixed": 0.95}, {"mixed"}, lambda way: (0, 0))
        ('core', 'mixed leaves the core, and is not a tenth faster')
    """
    ranks = {way: taken * (OUTSIDE if way in outside else 1.0) for way, taken in times.items()}
    best, fastest = min(ranks, key=ranks.__getitem__), min(times, key=times.__getitem__)
    equal = [way for way, rank in ranks.items() if rank <= TIE * ranks[best]]
    chosen = min(equal, key=weight)
    if chosen == fastest:
        return chosen, "fastest"
    if chosen != best:
        return chosen, f"as fast as {best}, and no larger"
    return chosen, f"{fastest} leaves the core, and is not a tenth faster"


def _leaves(picks: Picks) -> bool:
    """Whether a layer runs in torch."""
    return any(choice.engine == "torch" for choice in picks.values())


def _weight(found: dict[str, Candidates], picks: Picks) -> tuple[int, int]:
    """Bytes of the weights in a file, and in memory."""
    stored = sum(found[name].stored([way.layout]).file_bytes for name, way in picks.items())
    return stored, sum(found[name].memory(way) for name, way in picks.items())


def _ways(found: dict[str, Candidates], batch: int) -> dict[str, Picks]:
    """Name of a way -> choice for each layer; ways that come to the same are listed once, hopeless ones not at all."""
    times = {name: each.seconds[batch] for name, each in found.items()}
    names = sorted({way.layout for each in times.values() for way in each if way.engine == "core"})
    table: dict[str, dict[str, Choice | None]] = {
        "dense": {name: each.dense if each.dense in times[name] else None for name, each in found.items()},
        "core": {name: each.fastest(batch, "core") for name, each in found.items()},
        "mixed": {name: each.fastest(batch) for name, each in found.items()},
    }
    for kind in names:
        way = Choice(kind, "core")
        table[f"all {kind}"] = {
            name: way if way in times[name] else each.fastest(batch, "core") for name, each in found.items()
        }
    ways: dict[str, Picks] = {}
    for title, pick in table.items():
        whole = {name: choice for name, choice in pick.items() if choice is not None}
        if len(whole) == len(found) and whole not in ways.values():
            ways[title] = whole
    alone = {title: sum(times[name][way] for name, way in picks.items()) for title, picks in ways.items()}
    return {
        title: picks
        for title, picks in ways.items()
        if not title.startswith("all ") or alone[title] <= HOPELESS * alone.get("core", math.inf)
    }
