"""One random layer, its three products and its layouts as calls without arguments."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor

import gossamer as gs
from gossamer.kernels import pick, transposing
from gossamer.kernels.cpu.pack import row_dtype
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import narrowed
from gossamer.patterns import parse
from gossamer.trace.read import read
from gossamer.trace.tensors import array_of, tensor_of

Call = Callable[[], Any]


def random_layer(pattern: str, density: float, inputs: int, outputs: int) -> gs.SparseLinear:
    """A layer without bias; always the same connections."""
    generator = torch.Generator().manual_seed(0)
    kind = parse(pattern)
    return gs.SparseLinear(inputs, outputs, bias=False, density=density, pattern=kind, generator=generator)


def products(layer: gs.SparseLinear, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """Forward, input gradient (also scattered) and weight gradient, as the kernel table runs them; feature-major."""
    values, index, dims = layer.values.detach(), layer.operands(), layer.pattern.dims(layer.shape)
    linear, grad_input, grad_values = (
        pick(op, layer.pattern.layout, values.dtype, "cpu").call
        for op in ("linear", "linear_grad_input", "linear_grad_values")
    )

    def scattered() -> Tensor:
        with transposing("never"):
            dx: Tensor = grad_input(grad, values, index, dims)
            return dx

    return {
        "forward": partial(linear, x, values, index, None, dims),
        "dX": partial(grad_input, grad, values, index, dims),
        "dX scattered": scattered,
        "dW": partial(grad_values, grad, x, values, index, dims),
    }


def connections_of(layer: gs.SparseLinear) -> Connections:
    """The layer's connections, one by one."""
    connections = read(layer)
    assert connections is not None
    return connections


def layouts_of(layer: gs.SparseLinear) -> dict[str, Encoded]:
    """The layer in the layout it is trained in, and in what freezing may make of it: lanes, bytes, bands, int8."""
    own, shape = layer.pattern.layout, layer.shape
    names = layout(own).spec(shape, layer.pattern.parameters)
    index = {key: array_of(tensor) for key, tensor in zip(names, layer.operands(), strict=True)}
    name, connections = str(layer.pattern), connections_of(layer)
    held = {name: Encoded(own, shape, layer.pattern.parameters, array_of(layer.values), index)}
    small = narrowed(connections, "int8")
    if isinstance(fits := layout("nm_bytes").fit(small), dict):
        held[f"{name} bytes int8"] = layout("nm_bytes").encode(small, fits)  # inputs rounded to int8 as well
    for kind, label in ((own, name), (f"{own}_lanes", f"{name} lanes"), ("csr_bands", f"{name} bands")):
        banded = kind == "csr_bands" and (layer.grid.members > 1 or own == "nm")  # has something faster
        if kind in layouts and not banded and isinstance(fits := layout(kind).fit(connections), dict):
            held.setdefault(label, layout(kind).encode(connections, fits))
            held[f"{label} int8"] = layout(kind).encode(small, fits)
    return held


def forward(encoded: Encoded, x: Tensor) -> Call:
    """The product of the compiled core."""
    run = pick("linear", encoded.layout, row_dtype(encoded.values), "cpu").call
    values, index = tensor_of(encoded.values), [tensor_of(array) for array in encoded.index.values()]
    scale = None if encoded.scale is None else tensor_of(encoded.scale)
    return partial(run, x, values, index, None, encoded.dims, scale)


def copy(encoded: Encoded) -> Encoded:
    """The same layer in memory of its own."""
    return deepcopy(encoded)
