"""The steps of freezing a traced graph, and the report of what they did."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gossamer.freezing.arithmetic import check_arithmetic
from gossamer.freezing.candidates import Candidates
from gossamer.freezing.choose import BatchClass, choose
from gossamer.freezing.frozen import Frozen
from gossamer.freezing.passes import Removal, rewritten
from gossamer.freezing.pixels import pixels
from gossamer.freezing.repeat import repeated
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.layouts import layout
from gossamer.layouts.arrays import name_of
from gossamer.layouts.values import EXACT, FLOAT32, fitting, narrowed
from gossamer.measure import machine
from gossamer.network.graph import Call, Choice, Graph, Layer, Linear, Opaque
from gossamer.network.operators import operators
from gossamer.network.plan import BatchPlan, Candidate, InputPlan, LayerPlan, Plan
from gossamer.network.plan_step import PlanStep
from gossamer.network.program import Program

if TYPE_CHECKING:
    from gossamer.freezing.wanted import Wanted
    from gossamer.layouts.connections import Connections
    from gossamer.layouts.geometry import Geometry


def freeze_graph(graph: Graph, inputs: tuple[Any, ...], wanted: Wanted) -> Frozen:
    """Remove, fuse, choose or repeat what was chosen, report."""
    before = {node.name: body.connections.shape for node, body in graph.linears()}
    graph, why_not, removals = rewritten(graph, inputs)
    if wanted.plan is not None:
        chosen, batches, tried = repeated(graph, wanted.plan)
        types = {row.name: row.values for row in wanted.plan.layers}
    else:
        check_arithmetic(graph, wanted.compute)
        graph, types = _narrowed(graph, wanted)
        chosen, found, classes = choose(graph, inputs, wanted)
        sizes = [row.batch for row in classes]
        batches = [_batch(row, wanted) for row in classes]
        layers = {node.name: layer for node, layer in chosen.layers()}
        tried = {name: _tried(found[name], layers[name], sizes) for name in found}
    gone = {row.layer: row for row in removals}
    linear = {node.name: body for node, body in graph.linears()}
    used = pixels(graph, inputs)
    batches = _with_plans(batches, chosen, inputs) if used else batches
    rows = [
        _row(linear[node.name], layer, gone.get(node.name)).model_copy(
            update={
                "pixels": used.get(node.name, 0),
                "name": node.name,
                "was": before[node.name],
                "residual": len(node.inputs) > 1,
                "candidates": tried[node.name],
                "values": types.get(node.name, name_of(layer.stored.values)),
            }
        )
        for node, layer in chosen.layers()
    ]
    return Frozen(
        chosen,
        Plan(
            inputs=described(inputs),
            batches=batches,
            layers=rows,
            notes=_notes(graph, why_not),
            machine=machine() if wanted.plan is None else wanted.plan.machine,
        ),
    )


def _with_plans(batches: list[BatchPlan], chosen: Graph, inputs: tuple[Any, ...]) -> list[BatchPlan]:
    """Each batch class with what its plans of images take."""
    return [
        row.model_copy(update=_planned(Program(chosen, number, TENSORS), inputs))
        for number, row in enumerate(batches)
    ]


def _narrowed(graph: Graph, wanted: Wanted) -> tuple[Graph, dict[str, str]]:
    """The graph with values of fewer bits, where that is wanted, and the type of each layer that has them."""
    types = {node.name: _type(node.name, body.connections, wanted) for node, body in graph.linears()}
    types = {name: values for name, values in types.items() if values != EXACT}
    bodies = {
        node.name: replace(body, connections=narrowed(body.connections, types[node.name]))
        for node, body in graph.linears()
        if node.name in types
    }
    graph = graph.replaced(bodies)
    nodes = (replace(node, body=_narrow_call(node.body, wanted.type_of(node.name))) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes)), types


def _narrow_call(body: Any, values: str) -> Any:
    """The same of operators that hold weights."""
    narrow = operators[body.op].narrow if isinstance(body, Call) and values != EXACT else None
    return body if narrow is None else Call(body.op, *narrow(body.settings, body.tensors, values))


def _type(name: str, connections: Connections, wanted: Wanted) -> str:
    """The type of values that takes the fewest bytes; the one wanted where rounded inputs need it."""
    values = wanted.type_of(name)
    return values if values == EXACT or wanted.compute == "int8" else fitting(connections, values)


def described(inputs: tuple[Any, ...]) -> list[InputPlan]:
    """Shape and dtype of each input of the example."""
    return [
        InputPlan(dtype=str(x.dtype).removeprefix("torch."), shape=list(x.shape))
        if isinstance(x, Tensor)
        else InputPlan()
        for x in inputs
    ]


def _notes(graph: Graph, why_not: tuple[str, ...]) -> list[str]:
    """What stays torch, and what no pass could change."""
    what = [node.body.what for node in graph.nodes if isinstance(node.body, Opaque)]
    notes = [f"{each} stays torch: it runs, but the network cannot be saved" for each in what]
    return [*notes, *why_not][:60]


def limits(batches: tuple[int, ...]) -> list[int | None]:
    """Up to which batch size each measured one is used: half-way to the next on a logarithmic scale."""
    between: list[int | None] = [math.isqrt(a * b) for a, b in pairwise(batches)]
    return [*between, None]


def _batch(row: BatchClass, wanted: Wanted) -> BatchPlan:
    """The report of one batch class."""
    return BatchPlan(
        batch=row.batch,
        up_to=row.up_to,
        chosen=row.run.chosen,
        why=row.run.why,
        seconds={way: rounded(taken) for way, taken in row.run.times.items()},
        asked=row.batch in wanted.batches,
    )


def _tried(found: Candidates, layer: Layer, sizes: list[int]) -> list[Candidate]:
    """The report of what was tried for a layer, and what was not; ``sizes`` has the batch size of each class."""
    chosen = layer.choices
    tried = [
        Candidate(
            layout=way.layout,
            engine=way.engine,
            bytes=found.memory(way),
            seconds=[_time(found, way, size) for size in sizes] if found.seconds else [],
            why=_why(found, way, sizes[chosen.index(way)])
            if way in chosen
            else found.unmeasured.get(way, ""),
        )
        for way in found.ways
    ]
    return tried + [Candidate(layout=name, why=why) for name, why in found.refused.items()]


def _row(body: Linear, layer: Layer, gone: Removal | None) -> LayerPlan:
    """The report of one layer, without what was tried."""
    chosen = layer.choices
    kinds = (layout(choice.layout).compute for choice in chosen)
    return LayerPlan(
        name="",
        shape=layer.shape,
        was=layer.shape,
        connections=body.connections.positions.size,
        kernel=_kernel(body.geometry),
        constant=gone.constant if gone else 0,
        unread=gone.unread if gone else 0,
        unused_inputs=int((body.connections.fan_out() == 0).sum()),
        activation=layer.activation,
        compute=next((kind for kind in kinds if kind != FLOAT32), layer.stored.dtype),
        chosen=chosen[0].layout,
        runs=[f"{choice.layout}/{choice.engine}" for choice in chosen],
        bytes=layer.stored.file_bytes,
        stored=layer.stored.layout,
        memory=layer.memory,
    )


def _planned(program: Program, inputs: tuple[Any, ...]) -> dict[str, int]:
    """What the core does with images in one batch class, as it is planned for the example."""
    program(*inputs)
    plans = [plan for step in program.steps if isinstance(step.run, PlanStep) for plan in step.run.plans]
    steps = [step for plan in plans for step in plan.steps]
    copies = sum(step.copies for step in steps)
    return {"steps": len(steps), "copies": copies, "planned": sum(plan.memory for plan in plans)}


def _kernel(geometry: Geometry | None) -> str:
    """A convolution in words: "3 x 3", and what is not as usual."""
    if geometry is None:
        return ""
    words = " x ".join(map(str, geometry.kernel))
    words += f", stride {' x '.join(map(str, geometry.stride))}" if geometry.stride != (1, 1) else ""
    words += f", dilation {' x '.join(map(str, geometry.dilation))}" if geometry.dilation != (1, 1) else ""
    return words + (f", {geometry.groups} groups" if geometry.groups > 1 else "")


def rounded(seconds: float) -> float:
    """To the digits that mean something: a file is not larger for the others."""
    return float(f"{seconds:.3e}")


def _time(found: Candidates, way: Choice, size: int) -> float | None:
    """Seconds of a way at a batch size, where it was measured there."""
    times = found.seconds.get(size, {})
    return rounded(times[way]) if way in times else None


def _why(found: Candidates, way: Choice, size: int) -> str:
    """Why a way runs at a batch size."""
    times = found.seconds.get(size, {})
    if not times:
        return "as at another batch size" if found.seconds else "the only one asked for"
    if way != found.fastest(size):
        return "the whole network is faster with it"
    least = min(times, key=times.__getitem__)
    return "fastest" if way == least else f"as fast as {least.layout}/{least.engine}, and smaller"
