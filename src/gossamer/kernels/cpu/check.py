"""The full scan of an index by the compiled core, for indices of unknown origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossamer.errors import ShapeError, TopologyError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.operands import known, used_values


def check_index(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int]) -> None:
    """Scan index tensors for ranges, order and row pointers, before they reach a kernel.

    Args:
        values: [>= used], of any type - tensor or array; only its length is used.
        index: integer tensors of the layout, contiguous.
        layout: its name.
        shape: integers of the layout.

    Raises:
        ShapeError: sizes that do not fit each other.
        DtypeError: index tensors of another type than the layout's.
        TopologyError: the index does not describe a valid topology.
        KernelUnavailable: there is no compiled core.

    Cost: O(connections) time, no memory.

    Example:
        >>> import numpy as np
        >>> ptr, col = np.array([0, 2], np.int32), np.array([1, 3], np.uint16)
        >>> check_index(np.zeros(2, np.float32), [ptr, col], "csr", [1, 4])
    """
    used = used_values("kernels.cpu.check_index", index, layout, shape)
    if len(values) < used:
        expected = f"at least {used} values"
        raise ShapeError("kernels.cpu.check_index", expected=expected, got=str(len(values)))
    scan(values, index, layout, shape)


def scan(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int]) -> None:
    """The contents alone; raises TopologyError, or KernelUnavailable without a compiled core."""
    core = library.core()
    kind = known("kernels.cpu.check_index", layout)
    fields = kind.fields(0, values, index, shape, pack.address)
    narrow = 0 if "float32" in kind.values else pack.DTYPES[f"float32-{kind.values[0]}"][1]
    status = core.gs_check_index(pack.MATRIX.pack(*fields, narrow, 0))
    if status:
        raise TopologyError(
            "kernels.cpu.check_index",
            expected=f"an index of layout {layout!r} for shape {list(shape)}",
            got=library.status_text(status),
        )
