"""The steps of a network on tensors: linear layers and activations in the core, all else by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from gossamer.freezing.core_call import CoreCall, behind
from gossamer.freezing.core_step import CoreStep, check, check_images
from gossamer.freezing.recurrent_call import RecurrentCall
from gossamer.kernels.reference.rounding import in_steps
from gossamer.layouts import layout
from gossamer.network.chain_step import Operands, Step, within
from gossamer.network.conv_step import Images
from gossamer.network.operators import operators
from gossamer.network.operators.recurrent import of_call
from gossamer.network.program import Kind
from gossamer.ops.conv_operators import integers
from gossamer.ops.dense_conv import padded
from gossamer.trace.convolved import convolution
from gossamer.trace.tensors import dtype_named, tensor_of

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry
    from gossamer.network.graph import Call


def torch_convolution(operands: Operands, geometry: Geometry) -> Step:
    """One dense convolution through torch.

    Args:
        operands: Operands - its form in layout "dense".
        geometry: Geometry.

    Returns:
        A step; a second argument is added before the activation. Narrow values are widened here, once: torch multiplies
        numbers of one type only.
    """
    form, held, after = operands.form.wide, operands.bias, behind(operands.activation, operands.slope)
    bias = None if held is None else tensor_of(held)
    convolve, dtype = convolution(tensor_of(form.values).view(form.shape), bias, geometry), form.dtype

    def convolved(x: Tensor, residual: Tensor | None = None) -> Tensor:
        check_images(x, geometry, dtype)
        y = convolve(x)
        return after(y if residual is None else y.add_(residual))

    return convolved


class TorchSlice:
    """A dense slice: the inputs in use are gathered, multiplied by the core, and put among the other neurons.

    Args:
        operands: Operands - its form in layout "slice".
        flat: bool - takes x [batch, in] only.
    """

    def __init__(self, operands: Operands, *, flat: bool = False) -> None:
        form, bias = operands.form, operands.bias
        self.n_out, self.n_in = form.shape
        self.flat, self.dtype, self.inner = (
            flat,
            dtype_named(form.dtype),
            CoreStep([within(operands)], rows=True),
        )
        self.rows, self.cols = (tensor_of(form.index[name]).to(torch.int64) for name in ("rows", "cols"))
        self.base = torch.zeros(self.n_out, dtype=self.dtype) if bias is None else tensor_of(bias).clone()
        self.after = behind(operands.activation, operands.slope)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., in] to [..., out]; a second argument is added before the activation."""
        return self._run(self.inner, x, residual)

    def recorded(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The same out of operators that tracers see."""
        return self._run(self.inner.recorded, x, residual)

    def _run(self, product: Step, x: Tensor, residual: Tensor | None) -> Tensor:
        check(x, self.n_in, self.dtype, flat=self.flat)
        y: Tensor = product(x.index_select(-1, self.cols))
        whole = self.base.repeat(*x.shape[:-1], 1).index_copy_(-1, self.rows, y)
        return self.after(whole if residual is None else whole + residual)


def traced(operands: Operands, geometry: Geometry) -> Step | None:
    """A convolution as the operator that trains it, whose sums are those of a plan; None: it has none for the form."""
    form, (_, bias, activation, slope) = operands.form, operands
    if form.reads is not None or not layout(form.layout).trains:
        return None
    index, values = [tensor_of(array) for array in form.index.values()], tensor_of(form.values)
    held = None if bias is None else tensor_of(bias)
    after, outer = behind(activation, slope), geometry.mode != "zeros" and any(geometry.padding)
    numbers = integers(geometry.unpadded if outer else geometry)

    def run(x: Tensor, residual: Tensor | None = None) -> Tensor:
        x = padded(x, geometry.padding, geometry.mode) if outer else x
        y = torch.ops.gossamer.conv(x, values, index, held, form.layout, form.dims, numbers)
        return after(y if residual is None else y + residual)

    return run


def _in_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    steps, size = in_steps(x.reshape(x.shape[0], -1))
    return steps.reshape(x.shape).double(), size


def _finished(sums: Tensor, size: Tensor, residual: Tensor | None, operands: Operands) -> Tensor:
    scale, bias = operands.form.scale, operands.bias
    y = sums.float() * size[:, None, None, None]
    y = y if scale is None else y * tensor_of(scale)[:, None, None]
    y = y if bias is None else y + tensor_of(bias)[:, None, None]
    return behind(operands.activation, operands.slope)(y if residual is None else y + residual)


IMAGES: Final = Images(padded, torch.stack, Tensor.contiguous, check_images, traced, _in_steps, _finished)


def torch_call(body: Call, name: str) -> Step:
    """An operator through the core where it has it, else through torch; errors of recurrent layers give its name."""
    if operators[body.op].in_core:
        return CoreCall(body)
    if body.op == "recurrent":
        return RecurrentCall(*of_call(body.settings, body.tensors), name)
    compute, settings, held = operators[body.op].tensors, body.settings, body.tensors
    return lambda *xs: compute(torch, xs, settings, held)


TENSORS: Final = Kind(
    CoreStep, TorchSlice, torch_convolution, torch_call, IMAGES, lambda x, shape: x.new_empty(shape)
)
