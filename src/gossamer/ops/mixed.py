"""Products of trained layers in bfloat16 on a matrix unit: what ``torch.autocast`` asks for where a kernel exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function

from gossamer.errors import ShapeError, StateError
from gossamer.kernels.cpu import mixed as core
from gossamer.kernels.dispatch import instruction_set
from gossamer.kernels.reference import mixed as reference
from gossamer.ops.autograd import record, transformed
from gossamer.ops.check import check_product
from gossamer.ops.direct import direct

BLOCK: Final = (16, 32)
GROUPS: Final = (16, 32)
COLUMNS: Final = 32  # of a batch, to a multiple of which rounded inputs are filled up

LIBRARY = torch.library.Library("gossamer", "FRAGMENT")
LIBRARY.define(
    "mixed_linear(Tensor x, Tensor values, Tensor[] index, Tensor? bias, str layout, int[] shape)"
    " -> (Tensor, Tensor, Tensor)"
)
LIBRARY.define(
    "mixed_gradients(Tensor grad, Tensor inputs, Tensor weights, Tensor values, Tensor[] index, str layout,"
    " int[] shape, bool[] wanted) -> (Tensor, Tensor, Tensor)"
)


def applies(x: Tensor, values: Tensor, layout: str, shape: Sequence[int]) -> bool:
    """Whether autocast computes this product in bfloat16: float32 values on the CPU in a layout with kernels for it.

    Args:
        x: input.
        values: the stored values.
        layout: of the product.
        shape: the integers of the layout: fanin in groups of 16 or 32, blocks of 16 x 32.

    Raises:
        StateError: under torch.func's transforms or forward-mode derivatives, which would compute other numbers.

    Cost: O(1).
    """
    fits = layout == "fanin" and shape[2] in GROUPS
    fits = fits or (layout == "block" and tuple(shape[2:]) == BLOCK)
    if not fits or not x.is_cpu or values.dtype != torch.float32:
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
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
) -> Tensor:
    """``x W^T + bias`` with inputs and weights rounded to bfloat16 and sums in float32; gradients likewise.

    Args:
        x: [batch, n_in], float32.
        values: [>= used], float32 - the master values.
        index: of the layout.
        bias: [n_out], float32, or None.
        layout: ``"fanin"`` or ``"block"``.
        shape: the integers of the layout.

    Returns:
        [batch, n_out], float32, in feature-major memory.

    Cost: as `gossamer.ops.linear`; rounded inputs and weights, 2 bytes a number, are kept for the gradients.
    """
    now = not torch.compiler.is_compiling()
    y: Tensor = record(_Mixed, now, x, values, bias, layout, shape, *index)
    return y


class _Mixed(Function):
    """Operands: x, values, bias, layout, shape, then the index."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layout: str,
        shape: Sequence[int],
        *index: Tensor,
    ) -> Tensor:
        run = _linear if direct(x, values, bias, autocast=True) else torch.ops.gossamer.mixed_linear
        y, *made = run(x, values, index, bias, layout, shape)
        ctx.save_for_backward(*made, values, *index)
        ctx.layout, ctx.shape = layout, shape
        result: Tensor = y
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # create_graph: these products would be missing in it
            raise StateError(
                "ops.linear",
                expected="one derivative of a product in bfloat16",
                got="create_graph=True, which asks for a second derivative",
                hint="leave autocast around this layer",
            )
        inputs, weights, values, *index = ctx.saved_tensors
        grad, wanted = grad.float(), ctx.needs_input_grad[:3]
        run = _gradients if direct(grad, values) else torch.ops.gossamer.mixed_gradients
        made = run(grad, inputs, weights, values, index, ctx.layout, ctx.shape, wanted)
        found = (tensor if want else None for tensor, want in zip(made, wanted, strict=True))
        return *found, None, None, *(None for _ in index)


def _numbers(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> int:
    """How many numbers rounded weights are: whole tiles."""
    col = index[1]
    if layout == "block":
        return col.shape[0] * shape[2] * shape[3]
    return col.shape[0] * (-(-col.shape[1] // BLOCK[1])) * BLOCK[1] * shape[2]


def _made(
    x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Rounded inputs and weights, not yet filled."""
    rows = x.shape[1], -(-x.shape[0] // COLUMNS) * COLUMNS
    inputs = x.new_empty(rows, dtype=torch.bfloat16)
    weights = values.new_empty(_numbers(index, layout, shape), dtype=torch.bfloat16)
    return inputs, weights


def _engine() -> Any:
    """Who computes: both have the same functions."""
    return reference if instruction_set() == "reference" else core


def _linear(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    check_product("ops.linear", x, None, values, index, bias, layout, shape)
    made = _made(x, values, index, layout, shape)
    return _engine().linear(x, values, index, bias, layout, shape, made, instruction_set()), *made


def _gradients(
    grad: Tensor,
    inputs: Tensor,
    weights: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    layout: str,
    shape: Sequence[int],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    check_product("ops.linear_gradients", None, grad, values, index, None, layout, shape)
    _check_made(grad, inputs, weights, _numbers(index, layout, shape), shape)
    made: tuple[Tensor, Tensor, Tensor] = _engine().gradients(
        grad, (inputs, weights), values, index, layout, shape, wanted, instruction_set()
    )
    return made


def _check_made(grad: Tensor, inputs: Tensor, weights: Tensor, numbers: int, shape: Sequence[int]) -> None:
    """That inputs and weights are what a product of this size made."""
    rows = shape[1], -(-grad.shape[0] // COLUMNS) * COLUMNS
    fits = tuple(inputs.shape) == rows and weights.shape == (numbers,)
    for tensor in (inputs, weights):
        fits = fits and tensor.dtype == torch.bfloat16 and tensor.is_contiguous() and tensor.is_cpu
    if not fits:
        raise ShapeError(
            "ops.linear_gradients",
            expected=f"bfloat16 inputs {list(rows)} and weights [{numbers}] of mixed_linear",
            got=f"{inputs.dtype} {list(inputs.shape)} and {weights.dtype} {list(weights.shape)}",
        )


def _linear_fake(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    del bias
    return x.new_empty((shape[0], x.shape[0])).t(), *_made(x, values, index, layout, shape)


def _gradients_fake(
    grad: Tensor,
    inputs: Tensor,
    weights: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    layout: str,
    shape: Sequence[int],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    del inputs, weights, index, layout
    none = grad.new_empty
    dx = none((shape[1], grad.shape[0])).t() if wanted[0] else none(0)
    return dx, none(values.shape if wanted[1] else 0), none(shape[0] if wanted[2] else 0)


for _name, _run, _fake in (("linear", _linear, _linear_fake), ("gradients", _gradients, _gradients_fake)):
    LIBRARY.impl(f"mixed_{_name}", _run, "CPU")
    torch.library.register_fake(f"gossamer::mixed_{_name}", _fake, lib=LIBRARY)
