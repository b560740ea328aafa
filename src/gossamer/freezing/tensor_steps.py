"""The steps of a network on tensors: linear layers and activations in the core, all else by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.freezing.core_call import CoreCall, behind
from gossamer.freezing.core_step import CoreStep, check, check_images
from gossamer.network.chain_step import Operands, Step
from gossamer.network.conv_step import Images
from gossamer.network.operators import operators
from gossamer.network.program import Kind
from gossamer.trace.convolved import convolution, padded
from gossamer.trace.tensors import tensor_of

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry
    from gossamer.network.graph import Call


def torch_step(operands: Operands, *, flat: bool = False, geometry: Geometry | None = None) -> Step:
    """One dense layer, or a dense slice of one, through torch.

    Args:
        operands: Operands - its form in layout "dense" or "slice".
        flat: bool - takes x [batch, in] only.
        geometry: Geometry of a convolution, which has layout "dense", or None.

    Returns:
        [..., in] -> [..., out]; a second argument is added before the activation. Narrow values are widened here,
        once: torch multiplies numbers of one type only.
    """
    form, held, after = operands.form.wide, operands.bias, behind(operands.activation, operands.slope)
    bias = None if held is None else tensor_of(held)
    n_out, n_in = form.shape
    if geometry is not None:
        convolve, dtype = convolution(tensor_of(form.values).view(n_out, n_in), bias, geometry), form.dtype

        def convolved(x: Tensor, residual: Tensor | None = None) -> Tensor:
            check_images(x, geometry, dtype)
            y = convolve(x)
            return after(y if residual is None else y.add_(residual))

        return convolved
    if form.layout == "dense":
        weight = tensor_of(form.values).view(n_out, n_in)

        def dense(x: Tensor, residual: Tensor | None = None) -> Tensor:
            check(x, n_in, weight.dtype, flat=flat)
            y = F.linear(x, weight, bias)
            return after(y if residual is None else y.add_(residual))

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
        return after(y if residual is None else y.add_(residual))

    return sliced


IMAGES: Final = Images(padded, torch.stack, Tensor.contiguous, check_images)


def torch_call(body: Call) -> Step:
    """An operator through the core where it has it, else through torch."""
    if operators[body.op].in_core:
        return CoreCall(body)
    compute, settings, held = operators[body.op].tensors, body.settings, body.tensors
    return lambda *xs: compute(torch, xs, settings, held)


TENSORS: Final = Kind(CoreStep, torch_step, torch_call, IMAGES, lambda x, shape: x.new_empty(shape))
