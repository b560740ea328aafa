"""The three products of one random layer as calls without arguments, on feature-major operands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import gossamer as gs
from gossamer.kernels import pick, transposing
from gossamer.patterns import parse

Call = Callable[[], Any]


def random_layer(pattern: str, density: float, inputs: int, outputs: int) -> gs.SparseLinear:
    """A layer without bias; always the same connections."""
    generator = torch.Generator().manual_seed(0)
    kind = parse(pattern)
    return gs.SparseLinear(inputs, outputs, bias=False, density=density, pattern=kind, generator=generator)


def products(layer: gs.SparseLinear, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """Forward, input gradient and weight gradient, as the kernel table runs them; and the input gradient scattered."""
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
