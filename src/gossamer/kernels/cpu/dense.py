"""The three products of a layer through a dense weight, on torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, addmm, empty_strided, mm, no_grad
from torch.nn.functional import linear as dense_linear

from gossamer.kernels.cpu.densified import Use, gather, weight_of

# Samples from which torch multiplies feature-major operands as fast as batch-major ones; below, it takes up to twenty
# times as long, and a batch-major product is copied. Measured: docs/decisions/0013-dense-where-dense-is-faster.md.
FEATURE_MAJOR_FROM: Final = {"linear": 16, "linear_grad_input": 128}


def linear(
    x: Tensor,
    values: Tensor,
    index: Sequence[Tensor],
    bias: Tensor | None,
    layout: str,
    shape: Sequence[int],
    training: bool,
) -> Tensor:
    """As the kernel of the same name: y [batch, n_out] lies in memory as [n_out, batch]."""
    use: Use = "training" if training else "evaluation"
    return multiply(x, weight_of(values, index, layout, shape, use), bias)


def linear_grad_input(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As the kernel of the same name: [batch, n_in] lies in memory as [n_in, batch]."""
    return multiply_back(grad, weight_of(values, index, layout, shape, "backward"))


def linear_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As the kernel of the same name; the dense gradient lives for this call."""
    with no_grad():
        matrix = grad.t() @ x
    return gather(matrix, values, index, layout, shape)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W^T + bias`` in feature-major memory."""
    n, n_out = x.shape[0], weight.shape[0]
    y = empty_strided((n, n_out), (1, n), dtype=x.dtype)
    with no_grad():
        if n < FEATURE_MAJOR_FROM["linear"]:
            return y.copy_(dense_linear(x.contiguous(), weight, bias))
        return mm(x, weight.t(), out=y) if bias is None else addmm(bias, x, weight.t(), out=y)


def multiply_back(grad: Tensor, weight: Tensor) -> Tensor:
    """``grad W`` in feature-major memory."""
    n, n_in = grad.shape[0], weight.shape[1]
    out = empty_strided((n, n_in), (1, n), dtype=grad.dtype)
    with no_grad():
        if n < FEATURE_MAJOR_FROM["linear_grad_input"]:
            return out.copy_(grad.contiguous() @ weight)
        return mm(grad, weight, out=out)
