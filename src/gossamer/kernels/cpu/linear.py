"""The three products of the compiled core on torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gossamer.errors import KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack, transposed
from gossamer.kernels.operands import known

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.kernels.spec import KernelSpec

_PACK = pack.CALL.pack


def panel(x: Tensor) -> tuple[Tensor, int, int]:
    """A [batch, features] tensor with a stride of 1, copied where it has none; feature and batch stride."""
    batch, feature = x.stride()
    if feature != 1 and batch != 1 and x.shape[0] > 1 and x.shape[1] > 1:
        x = x.contiguous()
        batch, feature = x.stride()
    return x, feature, batch


def _raise(op: str, layout: str, status: int, values: Tensor, shape: Sequence[int]) -> None:
    raise ShapeError(
        f"kernels.cpu.{op}",
        expected=f"operands of layout {layout!r} that fit shape {list(shape)}",
        got=f"{library.status_text(status)} (status {status}, {values.shape[0]} values)",
        hint="run kernels.cpu.check_index on the index",
    )


def linear(layout: str, types: tuple[int, int], isa: int) -> Callable[..., Tensor]:
    """``f(x, values, index, bias, shape, scale) -> y``; y [batch, n_out] lies in memory as [n_out, batch]."""
    from torch import Tensor, empty_strided

    run, parallel = library.core().gs_linear, library.parallel_for()
    (dtype, narrow), fields, at = types, known("kernels.cpu", layout).fields, Tensor.data_ptr

    def call(
        x: Tensor,
        values: Tensor,
        index: Sequence[Tensor],
        bias: Tensor | None,
        shape: Sequence[int],
        scale: Tensor | None = None,
    ) -> Tensor:
        x, feature, batch = panel(x)
        n = x.shape[0]
        y = empty_strided((n, shape[0]), (1, n), dtype=x.dtype)
        status = run(_PACK(
            *fields(dtype, values, index, shape, at), narrow, 0 if scale is None else at(scale),
            isa, n, at(x), feature, batch, 0, 0, 0, 0 if bias is None else at(bias), 0, 0.0, 0, 0, 0,
            at(y), n, parallel, 0, 0,
        ))  # fmt: skip
        if status:
            _raise("linear", layout, status, values, shape)
        return y

    return call


def linear_grad_input(layout: str, types: tuple[int, int], isa: int) -> Callable[..., Tensor]:
    """``f(grad, values, index, shape) -> gradient of x`` [batch, n_in], in memory as [n_in, batch]."""
    from torch import Tensor, empty_strided

    core, parallel = library.core(), library.parallel_for()
    scatter, by_columns = core.gs_linear_grad_input, core.gs_linear_grad_input_transposed
    (dtype, narrow), fields, at = types, known("kernels.cpu", layout).fields, Tensor.data_ptr

    def call(grad: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        grad, feature, batch = panel(grad)
        n = grad.shape[0]
        out = empty_strided((n, shape[1]), (1, n), dtype=grad.dtype)
        matrix = (*fields(dtype, values, index, shape, at), narrow, 0)
        packed = _PACK(
            *matrix, isa, n, 0, 0, 0, at(grad), feature, batch, 0, 0, 0.0, 0, 0, 0, at(out), n, parallel, 0, 0
        )
        columns = transposed.find(index, matrix, n * grad.itemsize)
        if columns is None:
            status = scatter(packed)
        else:
            room = values.new_empty(columns.connections)
            status = by_columns(packed, columns.packed, at(room))
        if status:
            _raise("linear_grad_input", layout, status, values, shape)
        return out

    return call


def linear_grad_values(layout: str, types: tuple[int, int], isa: int) -> Callable[..., Tensor]:
    """``f(grad, x, values, index, shape) -> gradient of values``, 0 past the used part."""
    from torch import Tensor, empty_like

    run, parallel = library.core().gs_linear_grad_values, library.parallel_for()
    (dtype, narrow), fields, at = types, known("kernels.cpu", layout).fields, Tensor.data_ptr

    def call(
        grad: Tensor, x: Tensor, values: Tensor, index: Sequence[Tensor], shape: Sequence[int]
    ) -> Tensor:
        grad, grad_feature, grad_batch = panel(grad)
        x, feature, batch = panel(x)
        out = empty_like(values)
        status = run(_PACK(
            *fields(dtype, values, index, shape, at), narrow, 0, isa, x.shape[0], at(x), feature, batch,
            at(grad), grad_feature, grad_batch, 0, 0, 0.0, 0, 0, 0, at(out), 0, parallel, 0, 0,
        ))  # fmt: skip
        if status:
            _raise("linear_grad_values", layout, status, values, shape)
        return out

    return call


_MAKERS: dict[str, Callable[[str, tuple[int, int], int], Callable[..., Any]]] = {
    "linear": linear,
    "linear_grad_input": linear_grad_input,
    "linear_grad_values": linear_grad_values,
}


def bind(spec: KernelSpec) -> Callable[..., Any]:
    """The callable of one row of the kernel table.

    Raises:
        KernelUnavailable: the instruction set is not compiled in or does not run here.
    """
    if spec.isa not in library.available_isas():
        raise KernelUnavailable("kernels.cpu", expected=f"one of {library.available_isas()}", got=spec.isa)
    return _MAKERS[spec.op](spec.layout, pack.DTYPES[spec.dtype], library.ISAS[spec.isa])
