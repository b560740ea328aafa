"""What weights and inputs are when they are rounded to few bits, with a gradient that passes straight through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.kernels.reference import coordinates
from gossamer.layouts.arrays import Array
from gossamer.layouts.rounding import ROUNDINGS
from gossamer.layouts.values import BFLOAT16, widened


class _Straight(torch.autograd.Function):
    """Another tensor forward, the gradient of the first one backward, zero where it says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor, passes: Tensor | None) -> Tensor:  # noqa: ARG004
        ctx.passes = passes
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient if ctx.passes is None else gradient * ctx.passes, None, None


def round_values(values: Tensor, rows: Array, neurons: int, to: str) -> Tensor:
    """What a layer's values weigh once ``freeze(values=to)`` has rounded them; the gradient passes straight through.

    Args:
        values: [n], float32 - stored weights alone: masked places must not move a scale.
        rows: [n], int64 - the neuron of each.
        neurons: int.
        to: str - "bfloat16", "int8", "int4", "ternary" or "binary".
    Returns:
        Tensor [n]; zeros are zeros.
    Raises:
        NonFiniteError: an infinity or NaN, but for bfloat16.
    Cost: O(n) on the CPU.
    Example:
        >>> round_values(torch.tensor([-7.0, 1.6]), np.zeros(2, int), 1, "int4").tolist()
        [-7.0, 2.0]
    """
    held = values.detach()
    if to == BFLOAT16:
        rounded = held.bfloat16().to(values.dtype)
    else:
        array = held.float().cpu().numpy()
        if not bool(np.isfinite(array).all()):
            raise NonFiniteError("quantize", expected="finite weights", got="an infinity or NaN")
        codes, scale = ROUNDINGS[to].round(array, rows, neurons)
        rounded = torch.from_numpy(np.asarray(widened(codes, rows, scale, "float32"))).to(held)
    straight: Tensor = _Straight.apply(values, rounded, None)
    return straight


def round_inputs(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """Each number as the nearest of ``low .. high`` times a step; halves to even. Outside of them it has no gradient.

    Args:
        x: Tensor, float32 or float64.
        step: float.
        low: int - the smallest number of steps.
        high: int - the largest.
    Returns:
        Tensor like x; NaN stays NaN.
    Cost: O(x).
    Example:
        >>> x = torch.tensor([-1.0, 0.75, 9.0], requires_grad=True)
        >>> y = round_inputs(x, 0.5, 0, 10)
        >>> y.sum().backward()
        >>> y.tolist(), x.grad.tolist()
        ([0.0, 1.0, 5.0], [0.0, 1.0, 0.0])
    """
    steps = torch.round(x.detach() * reciprocal(step))
    rounded = torch.clamp(steps, low, high) * step
    if not x.requires_grad:
        return rounded
    straight: Tensor = _Straight.apply(x, rounded, (steps >= low) & (steps <= high))
    return straight


def reciprocal(step: float) -> float:
    """Of a step, as float32 has it."""
    return float(np.float32(1) / np.float32(step))


def rows_of(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> Array:
    """The neuron of each stored value of a packed layer, [used] int64; of padding, which are zeros, the last neuron.

    Args:
        index: the layout's integer tensors.
        layout: its name.
        shape: the layout's integers.
    Cost: O(used).
    Example:
        >>> rows_of([torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1])], "csr", [2, 2]).tolist()
        [0, 0, 1]
    """
    rows: Array = coordinates([tensor.cpu() for tensor in index], layout, shape)[0].numpy()
    return rows.clip(max=shape[0] - 1)
