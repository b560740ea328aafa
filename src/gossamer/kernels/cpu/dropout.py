"""Leaky ReLU with dropout by the compiled core, forward and backward."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gossamer.errors import ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.reference.dropout import threshold
from gossamer.layouts.arrays import name_of

if TYPE_CHECKING:
    from torch import Tensor

CALL: Final = struct.Struct("4qdQ4q")
DTYPES: Final = {"float32": 0, "float64": 1}


def forward(x: Tensor, seed: int, slope: float, p: float, isa: str) -> tuple[Tensor, Tensor]:
    """One pass over memory.

    Args:
        x: any shape, float32 or float64 on the CPU, any strides.
        seed: int - 64 bits; the same seed drops the same places of the memory.
        slope: float - of numbers that are not positive.
        p: float in [0, 1] - probability of being dropped, rounded to a 65,536th.
        isa: str - instruction set.

    Returns:
        (y, kept), both with the strides of x where it has no gaps; kept: uint8, what became of each number.
    """
    from torch import empty_like, uint8

    y = empty_like(x)
    kept, source = empty_like(y, dtype=uint8), x if x.stride() == y.stride() else y.copy_(x)
    _run(library.core().gs_leaky_dropout, source, kept, y, seed, slope, p, isa)
    return y, kept


def backward(grad: Tensor, kept: Tensor, slope: float, p: float, isa: str) -> Tensor:
    """The gradient of x, in memory as `kept`.

    Args:
        grad: gradient of y, of its shape, any strides.
        kept: from `forward`, uint8 of the shape of grad; any strides.
        slope: float - as of `forward`.
        p: float - as of `forward`.
        isa: str - instruction set.
    """
    from torch import empty_like

    dx = empty_like(kept, dtype=grad.dtype)
    if kept.stride() != dx.stride():  # it has gaps, or places that several numbers share
        kept = empty_like(dx, dtype=kept.dtype).copy_(kept)
    source = grad if grad.stride() == kept.stride() else dx.copy_(grad)
    _run(library.core().gs_leaky_dropout_backward, source, kept, dx, 0, slope, p, isa)
    return dx


def _run(
    function: Callable[[bytes], int],
    x: Tensor,
    kept: Tensor,
    out: Tensor,
    seed: int,
    slope: float,
    p: float,
    isa: str,
) -> None:
    status = function(CALL.pack(
        DTYPES[name_of(x)], library.ISAS[isa], x.numel(), threshold(p), slope, seed,
        pack.address(x), pack.address(kept), pack.address(out), library.parallel_for(),
    ))  # fmt: skip
    if status:
        raise ShapeError("leaky_dropout", expected="operands that fit", got=library.status_text(status))
