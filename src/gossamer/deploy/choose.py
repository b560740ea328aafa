"""Which form of a layer is fastest here: every one that is allowed is tried on the layer's own inputs, dense included.

The times compared are tenth percentiles of interleaved runs: what the machine does while nobody disturbs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gossamer.deploy.core_step import CoreStep, Step
from gossamer.deploy.graph import Choice, Graph, Layer, Linear, Node
from gossamer.deploy.layouts import Packed, layout, layouts
from gossamer.deploy.program import Program, torch_step
from gossamer.deploy.store import smallest, to_store
from gossamer.deploy.values import EXACT
from gossamer.deploy.wanted import SIZE, SPEED
from gossamer.deploy.written import Operands
from gossamer.errors import PatternError
from gossamer.measure import alternate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossamer.deploy.connections import Connections
    from gossamer.deploy.wanted import Wanted

# above these densities sparse layouts are not tried: none has been seen to win; an index of any kind makes it larger
CROWDED, NEARLY_COMPLETE = 0.5, 0.99
SECONDS_A_LAYER, SECONDS_A_NETWORK = 0.12, 0.25  # at most, of measuring a batch size


@dataclass(frozen=True)
class Candidates:
    """The exact forms of one layer.

    Args:
        forms: layout -> Packed.
        refused: layout -> why it was not tried.
        ways: what may run the layer; one where the caller left no choice.
        named: bool - the caller left few layouts: they are measured at every batch size.
        settled: bool - the caller left one layout, which is then stored as well.
        seconds: way -> seconds in each batch class, in their order, None where it was not worth measuring; empty where
            nothing was measured.
        unmeasured: way -> why it has no time in some batch class.
    """

    forms: dict[str, Packed]
    refused: dict[str, str]
    ways: list[Choice]
    named: bool = False
    settled: bool = False
    seconds: dict[Choice, list[float | None]] = field(default_factory=dict)
    unmeasured: dict[Choice, str] = field(default_factory=dict)

    def fastest(self, number: int, engine: str | None = None) -> Choice | None:
        """The fastest way in a batch class, of one engine or of both; None where none was measured."""
        times = {
            way: taken
            for way, seconds in self.seconds.items()
            if (taken := seconds[number]) is not None and engine in (None, way.engine)
        }
        return min(times, key=times.__getitem__) if times else None


def candidates(
    connections: Connections,
    forced: str | None,
    allowed: frozenset[str] | None,
    activations: str = EXACT,
    prefer: str = SPEED,
) -> Candidates:
    """Every layout that holds a layer exactly and may read its inputs as it does, and why the others are out.

    Args:
        connections: Connections.
        forced: the layout it has to take, or None.
        allowed: layouts that may be tried, or None for all.
        activations: "exact", or "int8": inputs may be rounded.
        prefer: "speed", or "size": only the smallest forms are in. Where values are narrow, layouts that a file holds
            in more bytes than others are out.

    Raises:
        PatternError: the forced layout cannot hold it.

    Example:
        >>> from gossamer.deploy.connections import Connections
        >>> c = Connections((2, 2), torch.tensor([0, 3]), torch.ones(2))
        >>> found = candidates(c, None, None)
        >>> list(found.forms), found.refused["nm"]
        (['csr', 'csr_bands', 'dense', 'fanin'], 'not trained under an N:M pattern')
    """
    forms, refused = {}, {}
    crowded = NEARLY_COMPLETE if prefer == SIZE else CROWDED
    for name in layouts:
        kind = layout(name)
        fits = kind.fit(connections)
        if forced is not None and name != forced:
            refused[name] = f"{forced} is forced"
        elif kind.activations not in (EXACT, activations):
            refused[name] = (
                f"it rounds inputs to {kind.activations}, which activations={activations!r} forbids"
            )
        elif isinstance(fits, str):
            refused[name] = fits
        elif forced is None and allowed is not None and name not in allowed:
            refused[name] = "not among the candidates"
        elif forced is None and allowed is None and kind.explicit and connections.density > crowded:
            refused[name] = f"density {connections.density:.2f} is above {crowded}"
        else:
            forms[name] = kind.pack(connections, fits)
    if forced is not None and forced not in forms:
        raise PatternError("freeze(keep=)", expected=f"a layer that {forced} can hold", got=refused[forced])
    if not forms:
        forms["dense"] = layout("dense").pack(connections, {})
        refused["dense"] = "no candidate holds the layer"
    _drop_large(connections, forms, refused, prefer)
    ways = _ways_to_run(forms)
    settled = len(forms) == 1 and (forced is not None or allowed is not None)
    named = allowed is not None or prefer == SIZE
    return Candidates(forms, refused, ways[-1:] if settled else ways, named=named, settled=settled)


def _drop_large(
    connections: Connections, forms: dict[str, Packed], refused: dict[str, str], prefer: str
) -> None:
    """Move forms that cost bytes from those that may run to those that are refused."""
    if prefer == SIZE:
        least = min(form.bytes for form in forms.values())
        stays, what = {name for name, form in forms.items() if form.bytes == least}, f"{least:,} bytes do"
    elif connections.reads is not None:
        stored, stays = smallest(connections, forms)
        what = f"a file holds the layer in {stored.bytes:,} bytes as {stored.layout}, which does not give it"
    else:
        return
    for name in set(forms) - stays:
        refused[name] = f"larger: {forms[name].bytes:,} bytes, and {what}"
        del forms[name]


def _ways_to_run(forms: Iterable[str]) -> list[Choice]:
    """The core takes all layouts but slices; torch takes dense and slices, which is what "dense" means."""
    core = [Choice(name, "core") for name in forms if layout(name).kernel]
    return core + [Choice(name, "torch") for name in ("dense", "slice") if name in forms]


def measure(layer: Linear, found: Candidates, x: Tensor, batches: tuple[int, ...], seconds: float) -> None:
    """Time every way to run a layer, where it is worth it; fills ``found.seconds`` and ``found.unmeasured``."""
    steps: dict[Choice, Step] = {}
    for way in found.ways:
        form, bias = found.forms[way.layout], layer.connections.bias
        operands = Operands(form, bias, layer.activation, layer.slope)
        steps[way] = CoreStep([operands]) if way.engine == "core" else torch_step(operands)
    for batch in batches:
        sample = resized(x, batch)
        reasons = {way: "" if found.named else layout(way.layout).unpromising(batch) for way in steps}
        found.unmeasured.update({way: reason for way, reason in reasons.items() if reason})
        calls = {str(way): partial(step, sample) for way, step in steps.items() if not reasons[way]}
        times = alternate(calls, seconds=seconds)
        for way, reason in reasons.items():
            found.seconds.setdefault(way, []).append(None if reason else times[str(way)].p10)


def resized(x: Tensor, batch: int) -> Tensor:
    """The example repeated or cut along its first dimension; its memory order stays."""
    if x.shape[0] == batch:
        return x
    by_feature = x.dim() == 2 and x.stride(0) == 1 and x.shape[0] > 1
    picked = x[torch.arange(batch) % x.shape[0]]
    return picked.t().contiguous().t() if by_feature else picked


def choose(
    graph: Graph, inputs: tuple[Tensor, ...], wanted: Wanted
) -> tuple[Graph, dict[str, Candidates], list[dict[str, float]]]:
    """Give every linear layer its forms and choices.

    Args:
        graph: Graph - dead neurons removed, activations fused.
        inputs: the example.
        wanted: Wanted.

    Returns:
        (Graph, candidates by layer, seconds of the whole network by batch class and way).

    Raises:
        PatternError: a forced layout that cannot hold its layer.

    Cost: a run of every candidate for about a tenth of a second, then of the whole network.
    """
    found = {
        node.name: candidates(
            body.connections,
            wanted.for_layer(node.name),
            wanted.allowed,
            wanted.activations,
            wanted.prefer,
        )
        for node, body in graph.linears()
    }
    batches = wanted.batches
    if all(len(each.ways) == 1 for each in found.values()):
        picks = {name: each.ways * len(batches) for name, each in found.items()}
        return with_choices(graph, found, picks), found, [{} for _ in batches]
    seen: dict[str, Tensor] = {}

    def watch(node: Node, given: tuple[Any, ...]) -> None:
        if isinstance(node.body, Linear):
            seen[node.name] = given[0]

    graph.run(inputs, watch)
    share = min(SECONDS_A_LAYER, 0.6 * wanted.seconds / (len(found) * len(batches)))
    for node, body in graph.linears():
        x = seen[node.name].reshape(-1, body.connections.shape[1])
        rows = max(1, x.shape[0] // inputs[0].shape[0])
        inner = not set(node.inputs) & set(graph.inputs)
        if inner and x.shape[0] > 1:  # the core hands activations on feature by feature
            x = x.t().contiguous().t()
        measure(body, found[node.name], x, tuple(rows * batch for batch in batches), share)
    return _whole(graph, found, inputs, wanted)


def with_choices(graph: Graph, found: dict[str, Candidates], picks: dict[str, list[Choice]]) -> Graph:
    """The graph with these choices and the forms they need."""
    bodies = {}
    for node, body in graph.linears():
        chosen, linear = tuple(picks[node.name]), body.connections
        forms = {choice.layout: found[node.name].forms[choice.layout] for choice in chosen}
        stored = forms[chosen[0].layout] if found[node.name].settled else to_store(linear, forms)
        bodies[node.name] = Layer(
            linear.shape, linear.bias, body.activation, stored, forms, chosen, body.slope
        )
    return graph.replaced(bodies)


def _whole(
    graph: Graph, found: dict[str, Candidates], inputs: tuple[Tensor, ...], wanted: Wanted
) -> tuple[Graph, dict[str, Candidates], list[dict[str, float]]]:
    """Time the whole network in up to three ways for each batch size, and keep the fastest.

    Layer by layer the best; everything in the core, in as few calls as there are chains;
    everything dense in torch.
    """
    picks: dict[str, list[Choice]] = {name: [] for name in found}
    networks: list[dict[str, float]] = []
    budget = min(SECONDS_A_NETWORK, 0.4 * wanted.seconds / len(wanted.batches))
    for number, batch in enumerate(wanted.batches):
        ways = _ways(found, number)
        samples = tuple(resized(x, batch) for x in inputs)
        programs = {
            way: Program(with_choices(graph, found, {n: [c] for n, c in pick.items()}), 0)
            for way, pick in ways.items()
        }
        times = alternate({way: partial(p, *samples) for way, p in programs.items()}, seconds=budget)
        best = min(times, key=lambda way: times[way].p10)
        networks.append({way: timing.p10 for way, timing in times.items()})
        for name, choice in ways[best].items():
            picks[name].append(choice)
    return with_choices(graph, found, picks), found, networks


def _ways(found: dict[str, Candidates], number: int) -> dict[str, dict[str, Choice]]:
    """Name of a way -> choice for each layer; ways that come to the same are listed once."""
    dense = Choice("dense", "torch")
    table = {
        "dense": {name: dense if dense in each.seconds else None for name, each in found.items()},
        "core": {name: each.fastest(number, "core") for name, each in found.items()},
        "mixed": {name: each.fastest(number) for name, each in found.items()},
    }
    ways: dict[str, dict[str, Choice]] = {}
    for way, pick in table.items():
        whole = {name: choice for name, choice in pick.items() if choice is not None}
        if len(whole) == len(found) and whole not in ways.values():
            ways[way] = whole
    return ways
