"""A network made ready to run, on tensors or on arrays: steps, and slots that values take and leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from gossamer.network.chain_step import Operands, Step
from gossamer.network.conv_step import ConvStep, Images
from gossamer.network.graph import Call, Graph, Layer, Linear, Node
from gossamer.network.order import in_chain, read_by_core
from gossamer.network.plan_step import PlanStep
from gossamer.network.stretches import Stretch, segments

if TYPE_CHECKING:
    from gossamer.network.plan import Plan


class Kind(NamedTuple):
    """What makes the steps of a network, on tensors or on arrays.

    Args:
        chain: (layers, rows, adds, flat) -> Step, a ChainStep: layers in the core.
        slice: (operands, flat) -> Step: a dense slice of a layer.
        dense_convolution: (operands, geometry) -> Step: a convolution that torch computes in a Frozen.
        call: (Call, name of its node) -> Step: any other operator.
        images: Images - what convolutions are made of.
        empty: (value like it, shape) -> a new one with nothing in it yet.
    """

    chain: Callable[..., Step]
    slice: Callable[..., Step]
    dense_convolution: Callable[..., Step]
    call: Callable[[Call, str], Step]
    images: Images
    empty: Callable[[Any, tuple[int, ...]], Any]


Named = tuple[Step, tuple[str, ...], tuple[str, ...]]  # with names of what it reads and of what it gives


class Planned(NamedTuple):
    """A step, the slots that it reads, those that it fills, and those that nobody reads after it."""

    run: Step
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]


class Program:
    """The steps of one batch class, in order. Threads may share it: values belong to the call.

    Args:
        graph: Graph - every linear layer with its forms and choices.
        batch_class: int - which of the choices.
        kind: Kind.

    Cost: a call holds no value longer than somebody has still to read it.

    Example:
        >>> import numpy as np
        >>> from gossamer.network.array_steps import ARRAYS
        >>> nodes = (Node("a", ("x",), Call("relu")), Node("b", ("a", "x"), Call("add")))
        >>> program = Program(Graph(("x",), nodes, "b"), 0, ARRAYS)
        >>> program(np.array([-1.0, 2.0])).tolist(), len(program.steps), program.size
        ([-1.0, 4.0], 2, 2)
    """

    def __init__(self, graph: Graph, batch_class: int, kind: Kind) -> None:
        done: set[str] = set()
        named = [
            _step(graph, part, batch_class, {*graph.inputs, *done}, done, kind)
            for part in segments(graph, batch_class)
            if isinstance(part, Stretch) or part.name not in done
        ]
        self.steps, self.size, self.output = _planned(named, graph.inputs, graph.output)
        self.inputs = len(graph.inputs)
        before = [(graph.inputs[0],), *(writes for *_, writes in named)]
        pairs = zip(named, before, strict=False)
        straight = all(len(reads) == 1 and reads == made for (_, reads, _), made in pairs)
        line = straight and self.inputs == 1 and before[-1] == (graph.output,)
        self.line = [step for step, *_ in named] if line else None

    def shortest(self) -> Step:
        """What to call: the one step itself, where there is no other."""
        return self.line[0] if self.line is not None and len(self.line) == 1 else self

    def __call__(self, *inputs: Any) -> Any:
        """Run the steps."""
        if self.line is not None:
            (x,) = inputs
            for step in self.line:
                x = step(x)
            return x
        return self._run(self.steps, inputs)

    def lines(self) -> list[str]:
        """What the plans of images do that were called so far, step by step."""
        return [line for step in self.steps if isinstance(step.run, PlanStep) for line in step.run.lines()]

    def recorded(self, *inputs: Any) -> Any:
        """Run them where torch looks on: calls into the core as operators."""
        steps = [step._replace(run=getattr(step.run, "recorded", step.run)) for step in self.steps]
        return self._run(steps, inputs)

    def _run(self, steps: list[Planned], inputs: tuple[Any, ...]) -> Any:
        values: list[Any] = [*inputs, *([None] * (self.size - self.inputs))]
        for run, reads, writes, frees in steps:
            made = run(*[values[slot] for slot in reads])
            for slot in frees:
                values[slot] = None
            if len(writes) == 1:
                made = (made,)
            for slot, value in zip(writes, made, strict=True):
                values[slot] = value
        return values[self.output]


def programs(graph: Graph, report: Plan, kind: Kind) -> tuple[list[Program], list[int]]:
    """A program for each batch class, and up to which batch size each but the last is used.

    Returns:
        (list of Program - the same one where the choices are - and list of int, ascending).
    """
    made: list[Program] = []
    known: dict[tuple[object, ...], Program] = {}
    for number in range(len(report.batches)):
        picks = tuple(body.choices[number] for _, body in graph.layers())
        if picks not in known:
            known[picks] = Program(graph, number, kind)
        made.append(known[picks])
    return made, [row.up_to for row in report.batches if row.up_to is not None]


def _planned(named: list[Named], inputs: tuple[str, ...], output: str) -> tuple[list[Planned], int, int]:
    """Steps with slots, how many slots there are, and the one that holds the result.

    A slot is free again once the last step that reads its value has run, and the next value takes it.
    """
    last = {name: number for number, (_, reads, _) in enumerate(named) for name in reads}
    slots = {name: number for number, name in enumerate(inputs)}
    size, free = len(slots), list[int]()
    steps: list[Planned] = []
    for number, (run, reads, writes) in enumerate(named):
        frees = sorted({slots[name] for name in reads if last[name] == number and name != output})
        taken = tuple(slots[name] for name in reads)
        free += reversed(frees)
        for name in writes:
            if not free:
                free.append(size)
                size += 1
            slots[name] = free.pop()
        steps.append(Planned(run, taken, tuple(slots[name] for name in writes), tuple(frees)))
    return steps, size, slots[output]


def _step(
    graph: Graph, node: Node | Stretch, batch_class: int, ready: set[str], done: set[str], kind: Kind
) -> Named:
    """What runs a stretch, or a node and the core layers that follow it; names of what it reads and of what it gives.

    A layer with a residual ends a chain, and joins one only where the residual is ``ready`` before the chain begins.
    """
    if isinstance(node, Stretch):
        done.update(each.name for each in node.nodes)
        singles = [_single(each, batch_class, kind) for each in node.nodes]
        return PlanStep(node, batch_class, singles, kind.empty), node.reads, node.gives
    done.add(node.name)
    if not isinstance(node.body, Layer) or not in_chain(node.body, batch_class):
        return _single(node, batch_class, kind), node.inputs, (node.name,)
    layers, reads, flat = [_operands(node.body, batch_class)], node.inputs, node.body.flat
    while len(reads) == 1 and (following := graph.only_consumer(node.name)) is not None:
        body = following.body
        if not isinstance(body, Layer) or not in_chain(body, batch_class):
            break
        residual = following.inputs[1:]
        if (
            following.inputs[0] != node.name
            or body.shape[1] != layers[-1].form.shape[0]
            or not ready.issuperset(residual)
        ):
            break
        layers.append(_operands(body, batch_class))
        reads += residual
        flat |= body.flat
        node = following
        done.add(node.name)
    rows = None if node.name == graph.output else not read_by_core(graph, node.name, batch_class)
    return kind.chain(layers, rows=rows, adds=len(reads) > 1, flat=flat), reads, (node.name,)


def _single(node: Node, batch_class: int, kind: Kind) -> Step:
    """What runs one node that is no part of a chain."""
    if isinstance(node.body, Linear):
        raise TypeError("choose() gives every linear layer its forms first")
    if not isinstance(node.body, Layer):
        return kind.call(node.body, node.name) if isinstance(node.body, Call) else node.body
    operands, geometry = _operands(node.body, batch_class), node.body.geometry
    if geometry is None:
        return kind.slice(operands, flat=node.body.flat)
    if node.body.choices[batch_class].engine == "torch":
        return kind.dense_convolution(operands, geometry)
    return ConvStep(operands, geometry, kind.chain, kind.images)


def _operands(body: Layer, batch_class: int) -> Operands:
    form = body.forms[body.choices[batch_class].layout]
    return Operands(form, body.bias, body.activation, body.slope)
