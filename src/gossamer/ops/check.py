"""O(1) checks of the operands of a sparse product; ``kernels.cpu.check_index`` scans an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.errors import DtypeError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = (torch.uint16, torch.int32)
_POINTERS = (torch.int32, torch.int64)
_OFFSETS = (torch.uint8,)

# layout: number of integers in shape, accepted dtypes of each index tensor
_LAYOUTS: dict[str, tuple[int, tuple[tuple[torch.dtype, ...], ...]]] = {
    "csr": (2, (_POINTERS, _COLUMNS)),
    "fanin": (3, (_COLUMNS, _COLUMNS)),
    "nm": (4, (_OFFSETS,)),
    "nm_lanes": (4, (_OFFSETS,)),
    "nm_bytes": (4, (_OFFSETS,)),
    "dense": (2, ()),
    "csr_bands": (3, ((torch.int32,), (torch.uint8, torch.uint16))),
    "block": (4, (_POINTERS, _COLUMNS)),
}


def _shape_error(expected: str, got: str, hint: str = "") -> ShapeError:
    return ShapeError("ops.linear", expected=expected, got=got, hint=hint)


def _row_compressed(index: Sequence[Tensor], rows: int) -> int:
    """Columns stored, after checking the shapes of row pointers and columns."""
    if index[0].shape != (rows + 1,) or index[1].ndim != 1:
        raise _shape_error(f"row_ptr [{rows + 1}] and col [nnz]", f"{[tuple(t.shape) for t in index]}")
    return index[1].shape[0]


def _used(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> int:
    """Values in use, after checking the shapes of the index."""
    n_out, n_in = shape[0], shape[1]
    if layout == "csr":
        return _row_compressed(index, n_out)
    if layout == "block":
        h, w = shape[2], shape[3]
        if not (1 <= h <= 32 and 1 <= w <= 32) or n_out % h or n_in % w:
            raise _shape_error(
                "sides from 1 to 32 that divide n_out and n_in", f"{h} x {w}, {n_out} x {n_in}"
            )
        return _row_compressed(index, n_out // h) * h * w
    if layout == "fanin":
        rows, cols, group = index[0], index[1], shape[2]
        if rows.ndim != 1 or cols.ndim != 2 or rows.shape[0] != cols.shape[0]:
            raise _shape_error("rows [n_active] and col [n_active, k]", f"{[tuple(t.shape) for t in index]}")
        if group not in {1, 2, 4, 8} or n_out % group:
            raise _shape_error("group 1, 2, 4 or 8 that divides n_out", f"group {group}, n_out {n_out}")
        return cols.numel() * group
    if layout == "dense":
        return n_out * n_in
    if layout == "csr_bands":
        starts, cols, band = index[0], index[1], shape[2]
        if not 1 <= band <= 65536 or starts.shape != (-(-n_in // band) * n_out + 1,) or cols.ndim != 1:
            raise _shape_error(
                "a band of 1 to 65536, starts [bands * n_out + 1] and col [nnz]",
                f"band {band}, {[tuple(t.shape) for t in index]}",
            )
        return cols.shape[0]
    n, m = shape[2], shape[3]
    if not 1 <= n <= m <= 256 or n_in % m:
        raise _shape_error("1 <= n <= m <= 256 with m dividing n_in", f"n {n}, m {m}, n_in {n_in}")
    tiles = n_in // m
    expected = {
        "nm": (n_out, tiles, n),
        "nm_lanes": (-(-n_out // 8), tiles, n, 8),
        "nm_bytes": (-(-n_out // 16), -(-tiles // 2), n, 16, 2),
    }[layout]
    if index[0].shape != expected:
        raise _shape_error(f"offset {list(expected)}", f"{tuple(index[0].shape)}")
    return index[0].numel()


def _check_index(index: Sequence[Tensor], layout: str, shape: Sequence[int], device: torch.device) -> int:
    if layout not in _LAYOUTS:
        raise _shape_error(f"a layout of {', '.join(_LAYOUTS)}", repr(layout))
    integers, dtypes = _LAYOUTS[layout]
    if len(shape) != integers or len(index) != len(dtypes):
        raise _shape_error(
            f"{len(dtypes)} index tensors and {integers} integers in shape for layout {layout!r}",
            f"{len(index)} and {len(shape)}",
        )
    for tensor, accepted in zip(index, dtypes, strict=True):
        if tensor.dtype not in accepted or tensor.device != device:
            names = " or ".join(str(d).removeprefix("torch.") for d in accepted)
            raise DtypeError(
                "ops.linear",
                expected=f"index of {names} on {device}",
                got=f"{tensor.dtype} on {tensor.device}",
            )
        if not tensor.is_contiguous():
            raise _shape_error(
                "contiguous index tensors", f"strides {tensor.stride()}", "call .contiguous() once"
            )
    return _used(index, layout, shape)


def check_operands(
    x: Tensor, values: Tensor, index: Sequence[Tensor], bias: Tensor | None, layout: str, shape: Sequence[int]
) -> None:
    """Check ranks, sizes, dtypes and devices of the operands of `linear`.

    Raises:
        ShapeError: operands that do not fit each other.
        DtypeError: dtypes or devices that do not fit each other.
    """
    used = _check_index(index, layout, shape, values.device)
    if x.ndim < 1 or x.shape[-1] != shape[1]:
        raise _shape_error(f"x [..., {shape[1]}]", f"{tuple(x.shape)}")
    if values.ndim != 1 or values.shape[0] < used or not values.is_contiguous():
        raise _shape_error(
            f"contiguous values [>= {used}]", f"{tuple(values.shape)} with strides {values.stride()}"
        )
    if bias is not None and (bias.shape != (shape[0],) or not bias.is_contiguous()):
        raise _shape_error(f"contiguous bias [{shape[0]}]", f"{tuple(bias.shape)}")
    for name, tensor in (("x", x), ("bias", bias)):
        if tensor is not None and (tensor.dtype != values.dtype or tensor.device != values.device):
            raise DtypeError(
                "ops.linear",
                expected=f"{name} like values: {values.dtype} on {values.device}",
                got=f"{tensor.dtype} on {tensor.device}",
                hint="cast one of them, or run under torch.autocast",
            )
    if not values.dtype.is_floating_point:
        raise DtypeError("ops.linear", expected="floating-point values", got=f"{values.dtype}")
