"""A frozen graph made ready to run: core layers that follow each other become one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.network.core_step import CoreStep, Step, check
from gossamer.network.graph import Graph, Layer, Linear, Node, activated
from gossamer.network.order import read_by_core
from gossamer.network.tensors import tensor_of
from gossamer.network.written import Operands


def torch_step(operands: Operands, *, flat: bool = False) -> Step:
    """One dense layer, or a dense slice of one, through torch.

    Args:
        operands: Operands - its form in layout "dense" or "slice".
        flat: bool - takes x [batch, in] only.

    Returns:
        [..., in] -> [..., out]; a second argument is added before the activation. Narrow values are widened here,
        once: torch multiplies numbers of one type only.
    """
    form, held, activation, slope = operands.form.wide, operands.bias, operands.activation, operands.slope
    bias = None if held is None else tensor_of(held)
    n_out, n_in = form.shape
    if form.layout == "dense":
        weight = tensor_of(form.values).view(n_out, n_in)

        def dense(x: Tensor, residual: Tensor | None = None) -> Tensor:
            check(x, n_in, weight.dtype, flat=flat)
            y = F.linear(x, weight, bias)
            return activated(y if residual is None else y.add_(residual), activation, slope)

        return dense
    rows, cols = (tensor_of(form.index[name]).to(torch.int64) for name in ("rows", "cols"))
    weight = tensor_of(form.values).view(rows.numel(), cols.numel())
    part = None if bias is None else bias[rows]
    base = weight.new_zeros(n_out) if bias is None else bias.clone()

    def sliced(x: Tensor, residual: Tensor | None = None) -> Tensor:
        check(x, n_in, weight.dtype, flat=flat)
        y = F.linear(x if cols.numel() == n_in else x.index_select(-1, cols), weight, part)
        if rows.numel() < n_out:
            y = base.repeat(*x.shape[:-1], 1).index_copy_(-1, rows, y)
        return activated(y if residual is None else y.add_(residual), activation, slope)

    return sliced


class Program:
    """The steps of one batch class, in order.

    Args:
        graph: Graph - every linear layer with its forms and choices.
        batch_class: int - which of the choices.

    Example:
        >>> from gossamer.network.graph import Call
        >>> nodes = (Node("a", ("x",), Call("relu")), Node("b", ("a", "x"), Call("add")))
        >>> program = Program(Graph(("x",), nodes, "b"), 0)
        >>> program(torch.tensor([-1.0, 2.0])), len(program.steps)
        (tensor([-1.,  4.]), 2)
    """

    def __init__(self, graph: Graph, batch_class: int) -> None:
        slots = {
            name: number for number, name in enumerate((*graph.inputs, *(node.name for node in graph.nodes)))
        }
        self.steps: list[tuple[Step, tuple[int, ...], int]] = []
        done: set[str] = set()
        for node in graph.nodes:
            if node.name not in done:
                step, reads, last = _step(graph, node, batch_class, {*graph.inputs, *done}, done)
                self.steps.append((step, tuple(slots[name] for name in reads), slots[last]))
        self.inputs, self.size, self.output = len(graph.inputs), len(slots), slots[graph.output]
        ends = [end for _, _, end in self.steps]
        straight = all(
            reads == (before,) for (_, reads, _), before in zip(self.steps, [0, *ends], strict=False)
        )
        self.line = (
            [step for step, _, _ in self.steps]
            if straight and self.inputs == 1 and [0, *ends][-1] == self.output
            else None
        )

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

    def recorded(self, *inputs: Any) -> Any:
        """Run them where torch looks on: calls into the core as operators."""
        steps = [
            (step.recorded if isinstance(step, CoreStep) else step, reads, writes)
            for step, reads, writes in self.steps
        ]
        return self._run(steps, inputs)

    def _run(self, steps: list[tuple[Step, tuple[int, ...], int]], inputs: tuple[Any, ...]) -> Any:
        values: list[Any] = [*inputs, *([None] * (self.size - self.inputs))]
        for step, reads, writes in steps:
            values[writes] = step(*[values[slot] for slot in reads])
        return values[self.output]


def _step(
    graph: Graph, node: Node, batch_class: int, ready: set[str], done: set[str]
) -> tuple[Step, tuple[str, ...], str]:
    """What runs a node and the core layers that follow it, the values it reads, and the name of the one it gives.

    A layer with a residual ends a chain, and joins one only where the residual is ``ready`` before the chain begins.
    """
    if not isinstance(node.body, Layer):
        if isinstance(node.body, Linear):
            raise TypeError("choose() gives every linear layer its forms first")
        done.add(node.name)
        return node.body, node.inputs, node.name
    if node.body.choices[batch_class].engine == "torch":
        done.add(node.name)
        return torch_step(_operands(node.body, batch_class), flat=node.body.flat), node.inputs, node.name
    layers, reads, flat = [_operands(node.body, batch_class)], node.inputs, node.body.flat
    done.add(node.name)
    while len(reads) == 1 and (following := graph.only_consumer(node.name)) is not None:
        body = following.body
        if not isinstance(body, Layer) or body.choices[batch_class].engine != "core":
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
    return CoreStep(layers, rows=rows, adds=len(reads) > 1, flat=flat), reads, node.name


def _operands(body: Layer, batch_class: int) -> Operands:
    form = body.forms[body.choices[batch_class].layout]
    return Operands(form, body.bias, body.activation, body.slope)
