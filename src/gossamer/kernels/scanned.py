"""Indices that were scanned: each once, in full, before a kernel follows it; what is known of it is kept beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import ShapeError, TopologyError
from gossamer.kernels import cost
from gossamer.kernels.cpu import library
from gossamer.kernels.cpu.check import scan
from gossamer.kernels.cpu.kept import Kept
from gossamer.kernels.operands import known as of_name
from gossamer.kernels.operands import used_values

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is known of an index.

    Args:
        layout: str - that it was scanned for.
        shape: integers of the layout, likewise.
        used: int - values that it has places for.
        crowded: bool - so many that a dense weight may pay; see `cost.FLOOR`.
    """

    layout: str
    shape: tuple[int, ...]
    used: int
    crowded: bool


_kept: Kept[Scanned] = Kept()
known = _kept.find


def scanned(
    operation: str, values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]
) -> Scanned:
    """Scan an index, unless this was done since the last write to it.

    Args:
        operation: str - named in errors.
        values: [>= used] - only their number and device are used.
        index: the layout's integer tensors, on the device of the values.
        layout: layout of the table.
        shape: the layout's integers.

    Raises:
        ShapeError, DtypeError: sizes and types that do not fit.
        TopologyError: an index out of range, not ascending, or row pointers that go back.

    Cost: O(connections) once for an index and every write to it, one look-up after that. A write that torch does not
        count, through ``.data`` or an array that shares the memory, is not seen. Inference tensors count none: theirs
        are scanned at every call.
    """
    found = known(index)
    if found is not None and found.layout == layout and found.shape == tuple(shape):
        check_length(operation, values, found.used)
        return found
    used = used_values(operation, index, layout, shape)
    check_length(operation, values, used)
    try:
        _scan(values, index, layout, shape)
    except TopologyError as error:
        raise error.within(operation) from None
    found = Scanned(layout, tuple(shape), used, used >= cost.FLOOR * shape[0] * shape[1])
    _kept.keep(found, index)
    return found


def check_length(operation: str, values: Tensor, used: int) -> None:
    """Refuse values that are not flat, not packed, or fewer than an index has places for; raises ShapeError."""
    if values.ndim != 1 or values.numel() < used or not values.is_contiguous():
        got = f"{tuple(values.shape)} with strides {values.stride()}"
        raise ShapeError(operation, expected=f"contiguous values [>= {used}]", got=got)


def _scan(values: Tensor, index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> None:
    """By the core, or where there is none for it, by the definition."""
    if not index or index[0].is_meta:  # nothing to follow, or nothing there
        return
    compiled = library.find() is not None and of_name("scan", layout).number is not None
    if index[0].is_cpu and compiled:
        scan(values, index, layout, shape)
        return
    from gossamer.kernels.reference.coordinates import inside  # the compiled core runs without torch

    if not inside(index, layout, shape):
        raise TopologyError("scan", expected=f"an index of layout {layout!r} for shape {list(shape)}",
                            got="one out of range")  # fmt: skip
