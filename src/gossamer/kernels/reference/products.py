"""The three products, slow and readable: gather, multiply, add up. Any floating dtype, any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from gossamer.kernels.operands import known
from gossamer.kernels.reference.coordinates import coordinates
from gossamer.kernels.reference.halves import sums
from gossamer.kernels.reference.rounding import in_steps
from gossamer.layouts.values import FLOAT32, ROUNDED

if TYPE_CHECKING:
    from torch import Tensor


def linear(layout: str) -> Callable[..., Tensor]:
    """``f(x, values, index, bias, shape, scale)``: ``y[:, row[i]] += values[i] x[:, col[i]]``, plus the bias.

    Values narrower than x are widened; with a scale a connection weighs ``scale[row[i]] values[i]``. Layouts that
    compute in int8 read x rounded by `in_steps`, in bfloat16 x rounded to it; in float16 they add up by `halves.sums`.
    """
    kind = known("kernels.reference", layout)

    def call(
        x: Tensor,
        values: Tensor,
        index: Sequence[Tensor],
        bias: Tensor | None,
        shape: Sequence[int],
        scale: Tensor | None = None,
    ) -> Tensor:
        if kind.compute == "float16":
            y = sums(x, values, index, shape[0])
            return (y if bias is None else y + bias[:, None]).t()
        row, col = (t.to(x.device) for t in coordinates(index, layout, shape))
        step = None
        if kind.compute == "int8":
            x, step = in_steps(x)
        elif kind.compute in ROUNDED:
            x = x.to(getattr(torch, kind.compute)).to(x.dtype)
        if kind.compute != FLOAT32:  # what fills up tiles reads a zero
            x, col = F.pad(x, (0, 1)), col.clamp(max=x.shape[1])
        products = values[: row.numel(), None].to(x.dtype) * x.t()[col]
        padded = -(-shape[0] // kind.lanes) * kind.lanes
        y = products.new_zeros(padded, x.shape[0]).index_add(0, row, products)[: shape[0]]
        y = y if step is None else y * step
        y = y if scale is None else y * scale[:, None]
        return (y if bias is None else y + bias[:, None]).t()

    return call


def linear_grad_input(layout: str) -> Callable[..., Tensor]:
    """``f(grad, values, index, shape)``: ``dx[:, col[i]] += values[i] grad[:, row[i]]``."""

    def call(grad: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        row, col = coordinates(index, layout, shape)
        products = values[: row.numel(), None] * grad.t()[row]
        return products.new_zeros(shape[1], grad.shape[0]).index_add(0, col, products).t()

    return call


def linear_grad_values(layout: str) -> Callable[..., Tensor]:
    """``f(grad, x, values, index, shape)``: ``dv[i] = sum_b grad[b, row[i]] x[b, col[i]]``, then 0."""

    def call(
        grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]
    ) -> Tensor:
        row, col = coordinates(index, layout, shape)
        out = values.new_zeros(values.shape)
        out[: row.numel()] = (grad.t()[row] * x.t()[col]).sum(1)
        return out

    return call
