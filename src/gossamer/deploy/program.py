"""A frozen graph made ready to run: core layers that follow each other become one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer import ops
from gossamer.deploy.graph import Graph, Layer, Linear, Node, activated
from gossamer.deploy.values import widened
from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.kernels.cpu import Chain
from gossamer.kernels.reference import coordinates

if TYPE_CHECKING:
    from gossamer.deploy.layouts import Packed

CORE_DTYPES = (torch.float32, torch.float64)
Step = Callable[..., Any]


class Operands(NamedTuple):
    """One linear layer as it runs: what it holds, and what follows its sums."""

    form: Packed
    bias: Tensor | None = None
    activation: str | None = None
    slope: float = 0.0


class CoreStep:
    """Linear layers in one call into the core; where it is missing, one operator call a layer.

    Args:
        layers: list of Operands, each reading what the one before computes; a residual is added to the last.

    Raises:
        TopologyError, ShapeError: an index or sizes that do not fit.

    Example:
        >>> from gossamer.deploy.connections import Connections
        >>> from gossamer.deploy.layouts import layout
        >>> packed = layout("csr").pack(Connections((1, 2), torch.tensor([1]), torch.ones(1)), {})
        >>> CoreStep([Operands(packed, None, "relu")])(torch.tensor([[5.0, -7.0]])).tolist()
        [[0.0]]
    """

    def __init__(self, layers: list[Operands]) -> None:
        self.layers = layers
        self.n_in, self.n_out, self.dtype = (
            layers[0].form.shape[1],
            layers[-1].form.shape[0],
            layers[0].form.dtype,
        )
        self.lock = threading.Lock()  # a chain keeps one workspace between calls
        try:
            self.chain: Callable[[Tensor, Tensor | None], Tensor] = self._compiled()
        except (
            KernelUnavailable,
            DtypeError,
        ):  # no core here, or not for this dtype: the operators say so themselves
            self.chain = self._one_by_one

    def _compiled(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        if self.dtype not in CORE_DTYPES:
            raise DtypeError("CoreStep", expected="float32 or float64", got=str(self.dtype))
        if self.dtype == torch.float64 and any(
            each.form.layout in ("dense", "nm_lanes") for each in self.layers
        ):
            raise DtypeError("CoreStep", expected="float32 for dense and nm_lanes", got="float64")
        return Chain(
            [
                {
                    "layout": form.layout,
                    "shape": form.dims,
                    "values": form.values,
                    "index": list(form.index.values()),
                    "bias": bias,
                    "activation": activation,
                    "slope": slope,
                    "scale": form.scale,
                }
                for form, bias, activation, slope in self.layers
            ]
        )

    def _one_by_one(self, x: Tensor, residual: Tensor | None) -> Tensor:
        for number, (form, bias, activation, slope) in enumerate(self.layers, 1):
            index = list(form.index.values())
            values = form.values
            if form.reads is not None:
                row, _ = coordinates(index, form.layout, form.dims)
                values = widened(values, row.clamp(max=form.shape[0] - 1), form.scale, form.reads)
            x = ops.linear(x, values, index, bias, form.layout, form.dims)
            x = x if residual is None or number < len(self.layers) else x + residual
            x = activated(x, activation, slope)
        return x

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., n_in], and for a residual [..., n_out], to [..., n_out]."""
        if isinstance(x, Tensor) and x.is_cpu and x.dim() == 2:  # the chain checks shape and dtype itself
            with self.lock:
                return self.chain(x, residual)
        check(x, self.n_in, self.dtype)
        flat = None if residual is None else residual.reshape(-1, self.n_out)
        with self.lock:
            return self.chain(x.reshape(-1, self.n_in), flat).reshape(*x.shape[:-1], self.n_out)


def check(x: Tensor, n_in: int, dtype: torch.dtype) -> None:
    """Refuse an input that a layer cannot take; raises ShapeError or DtypeError."""
    if not isinstance(x, Tensor) or x.dtype != dtype or not x.is_cpu:
        got = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
        raise DtypeError("Frozen", expected=f"a tensor of {dtype} on the CPU", got=got)
    if x.dim() < 1 or x.shape[-1] != n_in:
        raise ShapeError("Frozen", expected=f"x [..., {n_in}]", got=f"{list(x.shape)}")


def torch_step(operands: Operands) -> Step:
    """One dense layer, or a dense slice of one, through torch.

    Args:
        operands: Operands - its form in layout "dense" or "slice".

    Returns:
        [..., in] -> [..., out]; a second argument is added before the activation. Narrow values are widened here,
        once: torch multiplies numbers of one type only.
    """
    given, bias, activation, slope = operands
    form = given.wide
    n_out, n_in = form.shape
    if form.layout == "dense":
        weight = form.values.view(n_out, n_in)

        def dense(x: Tensor, residual: Tensor | None = None) -> Tensor:
            check(x, n_in, weight.dtype)
            y = F.linear(x, weight, bias)
            return activated(y if residual is None else y.add_(residual), activation, slope)

        return dense
    rows, cols = (form.index[name].to(torch.int64) for name in ("rows", "cols"))
    weight = form.values.view(rows.numel(), cols.numel())
    part = None if bias is None else bias[rows]
    base = weight.new_zeros(n_out) if bias is None else bias.clone()

    def sliced(x: Tensor, residual: Tensor | None = None) -> Tensor:
        check(x, n_in, weight.dtype)
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
        >>> from gossamer.deploy.graph import Call
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
        values: list[Any] = [*inputs, *([None] * (self.size - self.inputs))]
        for step, reads, writes in self.steps:
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
        return torch_step(_operands(node.body, batch_class)), node.inputs, node.name
    layers, reads = [_operands(node.body, batch_class)], node.inputs
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
        node = following
        done.add(node.name)
    return CoreStep(layers), reads, node.name


def _operands(body: Layer, batch_class: int) -> Operands:
    form = body.forms[body.choices[batch_class].layout]
    return Operands(form, body.bias, body.activation, body.slope)
