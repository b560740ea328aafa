"""Products on a dense weight, for layers with so many connections that this is faster: see kernels.cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossamer.errors import ShapeError
from gossamer.kernels import modes
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.kept import Kept

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE: Final = "GOSSAMER_DENSIFIED"

# Samples from which torch multiplies feature-major operands as fast as batch-major ones; below, it takes up to twenty
# times as long, and a batch-major product is copied. Measured: docs/decisions/0013-dense-where-dense-is-faster.md.
FEATURE_MAJOR_FROM: Final = {"linear": 16, "linear_grad_input": 128}

_mode = modes.variable("gossamer_densified", VARIABLE)


@dataclass
class _Dense:
    """A weight with every value in its place, and how often the values had been written to then."""

    weight: Tensor
    version: int


_kept: Kept[_Dense] = Kept()


@contextmanager
def densifying(mode: str) -> Iterator[None]:
    """Say when products may go through a dense weight, inside a ``with`` block.

    Args:
        mode: ``"auto"``: where it is estimated to be faster, and only from 40 % of the connections on; ``"always"``:
            wherever there is a compiled core; ``"never"``: memory first, no dense weight is made or used.

    Raises:
        ConfigError: another word.

    Cost: a dense weight is kept beside the values, 4 n_out n_in bytes in float32; the gradient of the values takes as much
        for as long as it is computed. As with any dense weight, an infinite or undefined input reaches every output.

    The environment variable ``GOSSAMER_DENSIFIED`` does the same for a whole process.

    Example:
        >>> with densifying("never"):
        ...     pass  # products here keep to the connections
    """
    with modes.switched(_mode, "kernels.densifying", mode):
        yield


def mode() -> str:
    """The word that holds now.

    Raises:
        ConfigError: the environment variable holds another word.
    """
    return modes.checked("kernels.densifying", _mode.get())


def dense_of(index: Sequence[Tensor], values: Tensor) -> tuple[Tensor, ...]:
    """What is kept beside the values: their dense weight, or none.

    Args:
        index, values: tensors of a layer, the same objects that its products got.

    Returns:
        (weight,), [n_out, n_in]; or ().

    Cost: one look-up.

    Example:
        >>> import torch
        >>> dense_of([torch.zeros(1, 1, 1, dtype=torch.uint8)], torch.zeros(1))
        ()
    """
    kept = _kept.find(index, values)
    return () if kept is None else (kept.weight,)


def linear(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> Tensor:
    """As the kernel of the same name: y [batch, n_out] lies in memory as [n_out, batch]."""
    return multiply(x, _weight(values, index, layout, shape), bias)


def linear_grad_input(
    grad: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As the kernel of the same name: [batch, n_in] lies in memory as [n_in, batch]."""
    return multiply_back(grad, _weight(values, index, layout, shape))


def linear_grad_values(
    grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """As the kernel of the same name; the dense gradient lives for this call."""
    from torch import no_grad

    with no_grad():
        dense = grad.t() @ x
    return gather(dense, values, index, layout, shape)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W^T + bias`` in feature-major memory."""
    from torch import addmm, empty_strided, mm, no_grad
    from torch.nn.functional import linear as dense_linear

    n, n_out = x.shape[0], weight.shape[0]
    y = empty_strided((n, n_out), (1, n), dtype=x.dtype)
    with no_grad():
        if n < FEATURE_MAJOR_FROM["linear"]:
            return y.copy_(dense_linear(x.contiguous(), weight, bias))
        return mm(x, weight.t(), out=y) if bias is None else addmm(bias, x, weight.t(), out=y)


def multiply_back(grad: Tensor, weight: Tensor) -> Tensor:
    """``grad W`` in feature-major memory."""
    from torch import empty_strided, mm, no_grad

    n, n_in = grad.shape[0], weight.shape[1]
    out = empty_strided((n, n_in), (1, n), dtype=grad.dtype)
    with no_grad():
        if n < FEATURE_MAJOR_FROM["linear_grad_input"]:
            return out.copy_(grad.contiguous() @ weight)
        return mm(grad, weight, out=out)


def _weight(values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> Tensor:
    """The dense weight of these values, written anew where they changed since."""
    from torch import zeros

    if values.is_inference() or any(tensor.is_inference() for tensor in index):  # those do not count writes
        return scatter(zeros(shape[:2], dtype=values.dtype), values, index, layout, shape)
    version, kept = values._version, _kept.find(index, values)  # noqa: SLF001 (torch's own count of writes)
    if kept is None:
        kept = _Dense(zeros(shape[:2], dtype=values.dtype), -1)
        _kept.keep(kept, index, values)
    if kept.version != version:
        scatter(kept.weight, values, index, layout, shape)
        kept.version = version
    return kept.weight


def scatter(
    weight: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """Write every value to its place; what has none stays 0."""
    matrix = pack.MATRIX.pack(*pack.matrix(values, index, layout, shape))
    _check(library.core().gs_to_dense(matrix, weight.data_ptr(), library.parallel_for()), layout, shape)
    return weight


def gather(
    dense: Tensor, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Tensor:
    """What lies in the places of the values; 0 past the used ones."""
    from torch import empty_like

    out, run = empty_like(values), library.core().gs_from_dense
    matrix = pack.MATRIX.pack(*pack.matrix(values, index, layout, shape))
    _check(run(matrix, dense.data_ptr(), out.data_ptr(), library.parallel_for()), layout, shape)
    return out


def _check(status: int, layout: str, shape: Sequence[int]) -> None:
    if status:
        raise ShapeError(
            "kernels.cpu.dense",
            expected=f"operands of layout {layout!r} that fit shape {list(shape)}",
            got=library.status_text(status),
            hint="run kernels.cpu.check_index on the index",
        )
