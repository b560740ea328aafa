"""Products of trained blocks in bfloat16 on a matrix unit: what ``torch.autocast`` asks for where a kernel exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function

from gossamer.errors import StateError
from gossamer.kernels.dispatch import instruction_set, pick
from gossamer.ops.autograd import transformed
from gossamer.ops.check import check_product

TILE: Final = (16, 32)

LIBRARY = torch.library.Library("gossamer", "FRAGMENT")
LIBRARY.define("mixed_linear(Tensor x, Tensor values, Tensor[] index, Tensor? bias, int[] shape) -> Tensor")
LIBRARY.define("mixed_grad_input(Tensor grad, Tensor values, Tensor[] index, int[] shape) -> Tensor")
LIBRARY.define(
    "mixed_grad_values(Tensor grad, Tensor x, Tensor values, Tensor[] index, int[] shape) -> Tensor"
)


def applies(x: Tensor, values: Tensor, layout: str, shape: Sequence[int]) -> bool:
    """Whether autocast computes this product in bfloat16: blocks of 16 x 32 with float32 values, on the CPU.

    Args:
        x: input.
        values: the stored values.
        layout: of the product.
        shape: the integers of the layout.

    Raises:
        StateError: under torch.func's transforms or forward-mode derivatives, which would compute other numbers.

    Cost: O(1).
    """
    if layout != "block" or tuple(shape[2:]) != TILE or not x.is_cpu or values.dtype != torch.float32:
        return False
    if not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    if transformed():
        raise StateError(
            "ops.linear",
            expected="no transform of torch.func around a product in bfloat16",
            got="one under torch.autocast",
            hint="leave autocast, or call it with dtype=torch.float16: products stay in float32 then",
        )
    return True


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, shape: Sequence[int]
) -> Tensor:
    """``x W^T + bias`` with inputs and weights rounded to bfloat16 and sums in float32; gradients likewise.

    Args:
        x: [batch, n_in], float32.
        values: [>= used], float32 - the master values.
        index: of layout block, 16 x 32.
        bias: [n_out], float32, or None.
        shape: the integers of the layout.

    Returns:
        [batch, n_out], float32, in feature-major memory.

    Cost: as `gossamer.ops.linear`; the rounded values are made in every call.
    """
    y: Tensor = _Mixed.apply(x, values, bias, shape, *index)
    return y


class _Mixed(Function):
    """Operands: x, values, bias, shape, then the index."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, shape: Sequence[int], *index: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, values, *index)
        ctx.shape = shape
        y: Tensor = torch.ops.gossamer.mixed_linear(x, values, index, bias, shape)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # create_graph: these products would be missing in it
            raise StateError(
                "ops.linear",
                expected="one derivative of a product in bfloat16",
                got="create_graph=True, which asks for a second derivative",
                hint="leave autocast around this layer",
            )
        x, values, *index = ctx.saved_tensors
        grad, run, (dx, dv) = grad.float(), torch.ops.gossamer, (None, None)
        if ctx.needs_input_grad[0]:
            dx = run.mixed_grad_input(grad, values, index, ctx.shape)
        if ctx.needs_input_grad[1]:
            dv = run.mixed_grad_values(grad, x, values, index, ctx.shape)
        db = grad.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dv, db, None, *(None for _ in index)


def _tiles(operation: str) -> Any:
    """The kernel: blocks of 16 x 32 in the order of their index are tiles."""
    return pick(operation, "tiles", "float32-bfloat16", "cpu").call


def _reference(operation: str, *operands: Any) -> Tensor:
    """The same on rounded operands; sums in another order."""
    *head, shape = operands
    made: Tensor = pick(operation, "block", torch.float32, "cpu").call(*head, shape)
    return made


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


def _linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, shape: Sequence[int]
) -> Tensor:
    check_product("ops.linear", x, None, values, index, bias, "block", shape)
    if instruction_set() == "reference":
        return _reference("linear", _rounded(x), _rounded(values), index, bias, shape)
    y: Tensor = _tiles("linear")(x, values.bfloat16(), index, bias, shape[:2])
    return y


def _grad_input(grad: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    check_product("ops.linear_grad_input", None, grad, values, index, None, "block", shape)
    if instruction_set() == "reference":
        return _reference("linear_grad_input", _rounded(grad), _rounded(values), index, shape)
    dx: Tensor = _tiles("linear_grad_input")(grad, values.bfloat16(), index, shape[:2])
    return dx


def _grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]
) -> Tensor:
    check_product("ops.linear_grad_values", x, grad, values, index, None, "block", shape)
    if instruction_set() == "reference":
        return _reference("linear_grad_values", _rounded(grad), _rounded(x), values, index, shape)
    dv: Tensor = _tiles("linear_grad_values")(grad, x, values, index, shape[:2])
    return dv


def _linear_fake(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, shape: Sequence[int]
) -> Tensor:
    del values, index, bias
    return x.new_empty((shape[0], x.shape[0])).t()


def _grad_input_fake(grad: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    del values, index
    return grad.new_empty((shape[1], grad.shape[0])).t()


def _grad_values_fake(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]
) -> Tensor:
    del grad, x, index, shape
    return values.new_empty(values.shape)


for _name, _run, _fake in (
    ("linear", _linear, _linear_fake),
    ("grad_input", _grad_input, _grad_input_fake),
    ("grad_values", _grad_values, _grad_values_fake),
):
    LIBRARY.impl(f"mixed_{_name}", _run, "CPU")
    torch.library.register_fake(f"gossamer::mixed_{_name}", _fake, lib=LIBRARY)
