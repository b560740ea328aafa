"""A frozen network: eval mode, no gradient, as few calls as the measured plan allows."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor, fx, is_autocast_enabled, nn
from torch.compiler import is_compiling, is_exporting
from torch.nn.modules import module as torch_module

from gossamer.errors import DtypeError, StateError
from gossamer.freezing.arithmetic import chosen_elsewhere, missing_units
from gossamer.freezing.onlookers import on_cpu, onlookers, refuse
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.layouts import Encoded, layout
from gossamer.layouts.arrays import nonzero
from gossamer.measure import nbytes
from gossamer.network.calling import arranged
from gossamer.network.graph import Call, Graph, Layer, Opaque
from gossamer.network.operators.recurrent import form_of
from gossamer.network.program import programs
from gossamer.network.streaming import Stream, streaming
from gossamer.nn import LayerCount, count
from gossamer.trace.opaque import Attribute, TracedCall
from gossamer.trace.tensors import dtype_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.network.plan import Plan

# torch has no public question for hooks on all modules
_ON_ALL = (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)  # noqa: SLF001


class Frozen(nn.Module):
    """Made by ``freeze`` or ``load``; call it like the model it came from.

    It cannot be trained, moved or cast: kernels read its memory directly. Freeze the model again instead.

    Args:
        graph: Graph - every linear layer with its forms and choices.
        report: Plan.
    """

    def __init__(self, graph: Graph, report: Plan) -> None:
        super().__init__()
        self.graph, self.report, self.several = graph, report, len(graph.inputs) > 1
        with on_cpu():
            self.programs, self.limits = programs(graph, report, TENSORS)
        self.runs = [program.shortest() for program in self.programs]
        super().train(mode=False)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """As torch calls modules, without its detours where nothing hangs on this one: a third of a small call."""
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or _ON_ALL[0]
            or _ON_ALL[1]
            or self._compiled_call_impl
        ):
            return super().__call__(*given, **named)
        return self.forward(*given, **named)

    def forward(self, x: Any = None, /, *more: Any, **named: Any) -> Any:
        """What the model computed, in evaluation, called by position or by name; the result belongs to no graph."""
        if type(x) is Tensor and not (
            self.several or more or named or is_compiling() or onlookers() or is_autocast_enabled("cpu")
        ):
            run = self.runs[bisect_left(self.limits, _batch(x))] if self.limits else self.runs[0]
            return run(x.detach() if x.requires_grad else x)
        if more or named or x is None or self.several:
            return self._call(arranged(self.graph.inputs, (x, *more), named, "Frozen"))
        return self._call((x,))

    def _call(self, given: tuple[Any, ...]) -> Any:
        """With inputs of any kind and number; where somebody looks on, out of operators that they know."""
        if is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return self._call(self._own(given))
        inputs = [x.detach() if isinstance(x, Tensor) else x for x in given]
        compiling = is_compiling()
        seen = (
            compiling
            or onlookers()
            or any(isinstance(x, (Tensor, fx.Proxy)) and type(x) is not Tensor for x in inputs)
        )
        if seen and not compiling:
            refuse(inputs)
        if not compiling and any(isinstance(x, np.ndarray) for x in inputs):  # which a plan would run
            raise DtypeError(
                "Frozen",
                expected="tensors",
                got="an array of NumPy",
                hint="torch.as_tensor(x) makes one of it; gossamer.runtime takes arrays",
            )
        batch = _batch(inputs[0])
        fixed = isinstance(batch, int) and not is_exporting()
        program = self.programs[sum([limit < batch for limit in self.limits]) if fixed else 0]
        return program.recorded(*inputs) if seen else program(*inputs)

    def _own(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Numbers as they were in the example: under autocast a network gets what others made narrow."""

        def cast(x: Any, dtype: Any) -> Any:
            able = isinstance(x, Tensor) and x.is_floating_point() and dtype is not None
            return x.to(dtype) if able and dtype.is_floating_point else x

        types = [getattr(torch, row.dtype, None) for row in self.report.inputs]
        return tuple(cast(x, dtype) for x, dtype in zip(given, types, strict=True))

    @property
    def plan(self) -> dict[str, Any]:
        """What was done and why, ready for JSON: batches, layers, notes, machine."""
        return self.report.model_dump(mode="json")

    def explain(self) -> str:
        """A table: for every layer each candidate with time and bytes, what was chosen and why.

        Where images run as plans, those of the sizes called so far follow: their steps, copies and times, measured now.
        """
        programs = {id(program): program for program in self.programs}.values()
        return "\n".join(
            [
                str(self.report),
                *chosen_elsewhere(self.report.machine),
                *missing_units(self.graph),
                *(line for program in programs for line in program.lines()),
            ]
        )

    def stream(self) -> Stream:
        """The network with a memory, to be called time by time: recurrent layers go on from the call before.

        Raises:
            ConfigError: no recurrent layer, one that reads backward, or times that mix elsewhere; named.

        Cost: programs of its own; the weights are shared.
        """
        twin = Frozen(self.graph, self.report)
        twin.programs, layers = streaming(self.graph, self.report, TENSORS)
        twin.runs = [program.shortest() for program in twin.programs]
        return Stream(self, twin, layers)

    def layer_counts(self, example_input: Any = None) -> list[LayerCount]:
        """The accounting of every layer that has weights, as stored; see ``gossamer.nn.count``."""
        pixels = {row.name: row.pixels for row in self.report.layers}
        rows = [_count_layer(node.name, body, pixels.get(node.name)) for node, body in self.graph.layers()]
        for node in self.graph.nodes:
            if isinstance(node.body, Call) and node.body.op == "recurrent":
                rows.append(_count_recurrent(node.name, node.body))
            if isinstance(node.body, Opaque) and isinstance(node.body.run, TracedCall):
                target = node.body.run.target
                rows += count(target) if isinstance(target, nn.Module) else []
        return rows

    def __prepare_scriptable__(self) -> NoReturn:
        raise StateError(
            "torch.jit.script",
            expected="a module that can be scripted",
            got="a frozen network",
            hint="use torch.jit.trace, torch.export or torch.compile",
        )

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation."""
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Frozen:
        """Torch's way to move and cast: what leaves every tensor where and what it is may pass, and does nothing."""
        for dtype in {tensor.dtype for tensor in self._tensors()}:
            moved = fn(torch.zeros(1, dtype=dtype, device="cpu"))
            if moved.dtype != dtype or not moved.is_cpu:
                raise StateError(
                    "Frozen",
                    expected=f"to stay on the CPU, and {str(dtype).removeprefix('torch.')}",
                    got=f"a move or a cast to {moved.dtype} on {moved.device}",
                    hint="move or cast the model and freeze it again",
                )
        return self

    def _tensors(self) -> Iterator[Tensor]:
        """One tensor of every type that the network computes with."""
        for node in self.graph.nodes:
            if isinstance(node.body, Layer):
                yield torch.empty(0, dtype=dtype_named(node.body.stored.dtype), device="cpu")
            elif isinstance(node.body, Call) and node.body.op == "recurrent":
                form = form_of(node.body.settings, node.body.tensors)
                yield torch.empty(0, dtype=dtype_named(form.dtype), device="cpu")
            elif isinstance(node.body, Call):
                yield from node.body.tensors.values()
            elif isinstance(node.body, Opaque):
                yield from _held(node.body)

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.graph, self.report)  # copies build their own calls into the core

    def extra_repr(self) -> str:
        """Layers, layouts and bytes."""
        rows = self.layer_counts()
        kinds = ", ".join(f"{row.name}={row.kind}" for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
        return f"{len(self.graph.nodes)} nodes, {sum(row.bytes for row in rows):,} bytes: {kinds}"


def _count_layer(name: str, body: Layer, pixels: int | None) -> LayerCount:
    """One layer as stored, a convolution with the pixels of the example."""
    return _count(name, body.stored, body.bias, 1 if body.geometry is None else pixels)


def _count_recurrent(name: str, body: Call) -> LayerCount:
    """The recurrent matrix of one layer and direction, for one time."""
    return _count(name, form_of(body.settings, body.tensors), body.tensors.get("bias"), 1)


def _count(name: str, form: Encoded, bias: Any, positions: int | None) -> LayerCount:
    """A matrix as stored; zeros of a dense form are no connections."""
    kind = layout(form.layout)
    with on_cpu():
        connections = kind.decode(form)
    if not kind.explicit:
        connections = connections.only(nonzero(connections.values))
    fan_in, number = np.unique(connections.fan_in(), return_counts=True)
    return LayerCount(
        name,
        form.layout,
        form.shape,
        connections.positions.size,
        form.value_bytes,
        nbytes(form.index.values()),
        nbytes([bias]),
        positions,
        dict(zip(fan_in.tolist(), number.tolist(), strict=True)),
    )


def _held(body: Opaque) -> Iterator[Tensor]:
    """The tensors that a call of torch brings with it."""
    target = body.run.target if isinstance(body.run, TracedCall) else None
    if isinstance(target, Attribute):
        value = target()
        yield from (value,) if isinstance(value, Tensor) else ()
    for module in target.modules() if isinstance(target, nn.Module) else ():
        if isinstance(module, Frozen):
            yield from module._tensors()  # noqa: SLF001 (its own class)
        else:
            yield from (*module.parameters(recurse=False), *module.buffers(recurse=False))


def _batch(x: Any) -> Any:
    """Number of samples; whatever has none runs as one, and the first step says what it takes."""
    return x.shape[0] if isinstance(x, Tensor) and x.dim() else 1
