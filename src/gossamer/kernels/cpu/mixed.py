"""Training in mixed precision by the compiled core: a product with rounded factors, and its gradients in one call."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossamer.errors import ShapeError
from gossamer.kernels.cpu import library
from gossamer.kernels.cpu.linear import panel
from gossamer.kernels.operands import known

if TYPE_CHECKING:
    from torch import Tensor

_PACK: Final = struct.Struct("33q").pack


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
    """``x W^T + bias`` of operands that were checked.

    Args:
        x: [batch, n_in], float32.
        values: [>= used], float32.
        index: integer tensors of the layout.
        bias: [n_out], float32, or None.
        layout: ``"fanin"`` or ``"block"``.
        shape: the layout's integers; groups of 16 or 32, blocks of 16 x 32.
        made: inputs [n_in, columns] and weights, bfloat16, which are filled; see `gossamer_mixed.h`.
        isa: str - instruction set.

    Returns:
        [batch, n_out], float32, in memory as [n_out, batch].
    """
    from torch import Tensor, empty_strided

    x, feature, stride = panel(x)
    batch, at = x.shape[0], Tensor.data_ptr
    y = empty_strided((batch, shape[0]), (1, batch), dtype=x.dtype)
    inputs, weights = made
    status = library.core().gs_mixed_linear(_PACK(
        *known("kernels.cpu", layout).fields(0, values, index, shape, at), 0, 0, library.ISAS[isa], batch,
        at(x), feature, stride, 0 if bias is None else at(bias), at(y), at(inputs), at(weights),
        0, 0, 0, 0, 0, 0, library.parallel_for(),
    ))  # fmt: skip
    _raise("mixed_linear", status)
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
    """Gradients of x, values and bias; those that are not wanted are empty.

    Args:
        grad: [batch, n_out], float32.
        made: what `linear` filled.
        values: [>= used] - only their number is used.
        index: integer tensors of the layout.
        layout: as of `linear`.
        shape: as of `linear`.
        wanted: bools - one a gradient.
        isa: str - instruction set.
    """
    from torch import Tensor, empty_strided

    grad, feature, stride = panel(grad)
    batch, at = grad.shape[0], Tensor.data_ptr
    inputs, weights = made
    sizes = ((batch, shape[1]), (1, batch)), (values.shape, (1,)), ((shape[0],), (1,))
    dx, dv, db = [
        empty_strided(*size, dtype=grad.dtype) if want else grad.new_empty(0)
        for size, want in zip(sizes, wanted, strict=True)
    ]
    to = [at(made) if want else 0 for made, want in zip((dx, dv, db), wanted, strict=True)]
    status = library.core().gs_mixed_gradients(_PACK(
        *known("kernels.cpu", layout).fields(0, values, index, shape, at), 0, 0, library.ISAS[isa], batch,
        0, 0, 0, 0, 0, at(inputs), at(weights), at(grad), feature, stride, *to, library.parallel_for(),
    ))  # fmt: skip
    _raise("mixed_gradients", status)
    return dx, dv, db


def _raise(name: str, status: int) -> None:
    if status:
        raise ShapeError(
            f"kernels.cpu.{name}",
            expected="operands that fit",
            got=f"{library.status_text(status)} (status {status})",
        )
