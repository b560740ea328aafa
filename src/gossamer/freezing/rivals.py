"""The same network as others would run it, and as each of our layouts runs it, timed in turns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.freezing.choose import choose
from gossamer.freezing.pixels import pixels
from gossamer.freezing.tensor_steps import TENSORS
from gossamer.freezing.wanted import Wanted
from gossamer.layouts import layout, layouts
from gossamer.measure import alternate, nbytes, threads
from gossamer.network.graph import Graph, Layer, Linear, Opaque
from gossamer.network.program import Program
from gossamer.trace.convolved import convolution
from gossamer.trace.run import activated, run
from gossamer.trace.tensors import tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gossamer.freezing import Frozen

    Make = Callable[[Tensor, Tensor | None], tuple[Callable[[Tensor], Tensor], int]]

DENSE, CSR, INT8, LAST = "torch dense", "torch CSR", "torch dense int8", "torch dense, channels last"
SAVED = "as frozen"


@dataclass(frozen=True)
class Contender:
    """One way to run a network.

    Args:
        name: str.
        ours: bool.
        run: callable - the network.
        bytes: int - of its weights, indices and biases.
        flops: int - multiplications and additions it executes for one sample.
    """

    name: str
    ours: bool
    run: Callable[..., Any]
    bytes: int
    flops: int


def contenders(frozen: Frozen, source: Frozen, example: Tensor) -> list[Contender]:
    """Torch in its own forms, the network as frozen, and each layout of ours that holds one.

    Torch is dense, CSR and dense int8; with convolutions, for which it has no other form, dense in either memory order.

    Args:
        frozen: Frozen - raced as it is.
        source: Frozen - what the others are made from: ``frozen`` itself, or the same network in a layout
            that still knows its pattern. Its dead neurons are gone, so the rivals do not carry them either.
        example: [batch, ...] - says the batch size to choose engines for.

    Returns:
        list of Contender; a layout that cannot hold a layer leaves that one dense.

    Cost: a dense copy of every layer.
    """
    graph = source.graph
    used = pixels(_as_linears(graph), (example,))
    if used:
        rivals = [_rival(graph, DENSE, torch_dense, used), _channels_last(graph, used)]
    else:
        ways = ((DENSE, torch_dense), (CSR, torch_csr), (INT8, torch_int8))
        rivals = [_rival(graph, name, make, used) for name, make in ways]
    layers = frozen.graph.layers()
    stored = sum(body.stored.file_bytes + nbytes([body.bias]) for _, body in layers)
    flops = sum(2 * body.stored.values.size * used.get(node.name, 1) for node, body in layers)
    return [*rivals, Contender(SAVED, True, frozen, stored, flops), *_layouts(graph, example, used)]


def int8_rival(frozen: Frozen) -> Contender:
    """The network with int8 weights in dense torch, for what a frozen network has to beat at batch 1."""
    return _rival(frozen.graph, INT8, torch_int8, {})


def _layouts(graph: Graph, example: Tensor, used: Mapping[str, int]) -> list[Contender]:
    """The network in each of our layouts alone."""
    linear = _as_linears(graph)
    made = []
    for name in layouts:
        wanted = Wanted("fastest", frozenset({name}), (example.shape[0],))
        chosen, *_ = choose(linear, (example,), wanted)
        bodies = {node.name: body for node, body in chosen.layers()}
        if name in {body.choices[0].layout for body in bodies.values()}:
            forms = {each: body.forms[body.choices[0].layout] for each, body in bodies.items()}
            size = sum(form.bytes for form in forms.values()) + nbytes(b.bias for b in bodies.values())
            flops = sum(2 * form.values.size * used.get(each, 1) for each, form in forms.items())
            made.append(Contender(f"gossamer {name}", True, Program(chosen, 0, TENSORS), size, flops))
    return made


def _as_linears(graph: Graph) -> Graph:
    """The network before layouts were chosen."""
    return graph.replaced({node.name: _as_linear(body) for node, body in graph.layers()})


def _as_linear(body: Layer) -> Linear:
    """The layer before a layout was chosen."""
    connections = layout(body.stored.layout).decode(body.stored)
    held = replace(connections, bias=body.bias)
    return Linear(held, body.activation, body.slope, body.flat, body.geometry)


def _rival(graph: Graph, name: str, make: Make, used: Mapping[str, int]) -> Contender:
    """The graph with every linear layer computed by torch in some form, and convolutions dense."""
    nodes, size, flops = [], 0, 0
    for node in graph.nodes:
        if not isinstance(node.body, Layer):
            nodes.append(node)
            continue
        linear = _as_linear(node.body)
        dense, bias = tensor_of(linear.connections.dense()), node.body.bias
        held = None if bias is None else tensor_of(bias)
        if linear.geometry is None:
            compute, n_bytes = make(dense, held)
        else:
            compute, n_bytes = convolution(dense, held, linear.geometry), nbytes([dense])
        nodes.append(replace(node, body=Opaque(name, partial(_finished, compute, node.body))))
        size += n_bytes + nbytes([node.body.bias])
        weights = linear.connections.positions.size if name == CSR else dense.numel()
        flops += 2 * weights * used.get(node.name, 1)
    changed = replace(graph, nodes=tuple(nodes))
    return Contender(name, False, lambda x: run(changed, (x,)), size, flops)


def _channels_last(graph: Graph, used: Mapping[str, int]) -> Contender:
    """Dense torch on images whose channels lie side by side, from the first layer to the last."""
    entry = _rival(graph, LAST, torch_dense, used)
    run = entry.run
    return replace(entry, run=lambda x: run(x.contiguous(memory_format=torch.channels_last)))


def _finished(compute: Callable[[Tensor], Tensor], body: Layer, x: Tensor, *residual: Tensor) -> Tensor:
    y = sum(residual, compute(x))
    return activated(y, body.activation, body.slope)


def torch_dense(weight: Tensor, bias: Tensor | None) -> tuple[Callable[[Tensor], Tensor], int]:
    """Torch's dense product; the call, and the bytes it holds."""
    return lambda x: F.linear(x, weight, bias), nbytes([weight])


def torch_csr(weight: Tensor, bias: Tensor | None) -> tuple[Callable[[Tensor], Tensor], int]:
    """Torch's compressed rows with 32-bit indices, which its vendor kernels take without a conversion."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Sparse CSR tensor support is in beta", category=UserWarning
        )
        wide = weight.to_sparse_csr()
        rows, columns = wide.crow_indices().int(), wide.col_indices().int()
        sparse = torch.sparse_csr_tensor(rows, columns, wide.values(), wide.shape, check_invariants=True)

    def compute(x: Tensor) -> Tensor:
        y = (sparse @ x.reshape(-1, x.shape[-1]).T).T.reshape(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    return compute, nbytes([rows, columns, wide.values()])


def torch_int8(weight: Tensor, bias: Tensor | None) -> tuple[Callable[[Tensor], Tensor], int]:
    """Torch's dynamic quantization: weights int8 per neuron, activations int8 per call."""
    scales = weight.abs().amax(1).clamp_(min=1e-8) / 127
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        quantized = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(quantized, bias)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, True), weight.numel() + nbytes([scales])


@torch.no_grad()
def race(field: list[Contender], x: Tensor, n_threads: int, seconds: float) -> list[dict[str, Any]]:
    """Time contenders in turns and say how each stands against dense torch.

    Args:
        field: list of Contender - dense torch among them.
        x: [batch, ...].
        n_threads: int.
        seconds: float - budget for all.

    Returns:
        list of dict, fastest first: name, ours, bytes, seconds (median, p10, p90), against_dense,
        gflops_real (what it executes), gflops_dense_equivalent (what dense would have executed in its time).
    """
    with threads(n_threads):
        times = alternate({entry.name: partial(entry.run, x) for entry in field}, seconds=seconds)
    dense = next(entry for entry in field if entry.name == DENSE)
    rows = []
    for entry in field:
        timing = times[entry.name]
        rows.append(
            {
                "name": entry.name,
                "ours": entry.ours,
                "bytes": entry.bytes,
                "seconds": {
                    "median": timing.median,
                    "p10": timing.p10,
                    "p90": timing.p90,
                    "runs": timing.runs,
                },
                "against_dense": times[DENSE].median / timing.median,
                "gflops_real": entry.flops * x.shape[0] / timing.median / 1e9,
                "gflops_dense_equivalent": dense.flops * x.shape[0] / timing.median / 1e9,
            }
        )
    return sorted(rows, key=lambda row: row["seconds"]["median"])


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Who wins, and by how much we lose where we do.

    Args:
        rows: from ``race``.

    Returns:
        list of sentences.

    Example:
        >>> row = {"ours": False, "name": "torch dense int8", "seconds": {"median": 1e-5}}
        >>> verdict([row, {"ours": True, "name": "gossamer csr", "seconds": {"median": 2e-5}}])
        ['we lose to torch dense int8: 2.00 x as fast as gossamer csr, our best']
    """
    best = next(row for row in rows if row["ours"])
    ahead = [row for row in rows if not row["ours"] and row["seconds"]["median"] < best["seconds"]["median"]]
    if not ahead:
        return [f"{best['name']} is the fastest"]
    ours, name = best["seconds"]["median"], best["name"]
    return [
        f"we lose to {row['name']}: {ours / row['seconds']['median']:.2f} x as fast as {name}, our best"
        for row in ahead
    ]
