"""What `kernels.cpu.mixed` computes, by the reference kernels on rounded operands: sums come in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gossamer.layouts.shared_tiles import INPUTS, NEURONS

if TYPE_CHECKING:
    from torch import Tensor


def _kernel(operation: str, layout: str) -> Any:
    from gossamer.kernels.dispatch import pick

    return pick(operation, layout, "float32", "cpu").call


def linear(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    made: tuple[Tensor, Tensor],
    isa: str,
) -> Tensor:
    """As `kernels.cpu.mixed.linear`."""
    del isa
    inputs, weights = made
    inputs.zero_()[:, : x.shape[0]] = x.t()
    weights.copy_(_tiled(values, index, layout, shape, weights.numel()))
    rounded = inputs[:, : x.shape[0]].t().float(), _untiled(weights, values, index, layout, shape)
    y: Tensor = _kernel("linear", layout)(*rounded, index, bias, shape)
    return y


def gradients(
    grad: Tensor,
    made: tuple[Tensor, Tensor],
    values: Tensor,
    index: Sequence[Tensor],
    layout: str,
    shape: Sequence[int],
    wanted: Sequence[bool],
    isa: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `kernels.cpu.mixed.gradients`."""
    del isa
    inputs, weights = made
    dx, dv, db = (grad.new_empty(0) for _ in range(3))
    rounded = grad.bfloat16().float()
    if wanted[0]:
        operand = _untiled(weights, values, index, layout, shape)
        dx = _kernel("linear_grad_input", layout)(rounded, operand, index, shape)
    if wanted[1]:
        x = inputs[:, : grad.shape[0]].t().float()
        dv = _kernel("linear_grad_values", layout)(rounded, x, values, index, shape)
    if wanted[2]:
        db = grad.sum(0)
    return dx, dv, db


def _tiled(
    values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int], numbers: int
) -> Tensor:
    """Values in the order of rounded weights, with zeros behind the inputs of a group."""
    if layout == "block":
        return values[:numbers]
    (active, k), group = index[1].shape, shape[2]
    full = values.new_zeros(active, -(-k // INPUTS) * INPUTS, group)
    full[:, :k] = values[: active * k * group].view(active, k, group)
    return (
        full.view(active, -(-k // INPUTS), INPUTS, group // NEURONS, NEURONS)
        .permute(0, 1, 3, 4, 2)
        .reshape(-1)
    )


def _untiled(
    weights: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """The inverse, as float32, as long as the values."""
    flat = weights
    if layout == "fanin":
        (active, k), group = index[1].shape, shape[2]
        tiles = weights.view(active, -(-k // INPUTS), group // NEURONS, NEURONS, INPUTS).permute(
            0, 1, 4, 2, 3
        )
        flat = tiles.reshape(active, -(-k // INPUTS) * INPUTS, group)[:, :k].reshape(-1)
    full = values.new_zeros(values.shape)
    full[: flat.numel()] = flat
    return full
