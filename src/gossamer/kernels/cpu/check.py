"""The full scan of an index by the compiled core, for indices of unknown origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gossamer.errors import TopologyError
from gossamer.kernels.cpu import library, pack


def check_index(values: Any, index: Sequence[Any], layout: str, shape: Sequence[int]) -> None:
    """Scan index tensors for ranges, order and row pointers, before they reach a kernel.

    Args:
        values: [>= used], float32 or float64, or narrow - tensor or array; only its length and dtype are used.
        index: integer tensors of the layout, contiguous.
        layout: ``"csr"``, ``"fanin"``, ``"nm"``, ``"block"``, ``"nm_lanes"``, ``"nm_bytes"``, ``"csr_bands"``
            or ``"dense"``.
        shape: integers of the layout.

    Raises:
        TopologyError: the index does not describe a valid topology.
        KernelUnavailable: there is no compiled core.

    Cost: O(connections) time, no memory.

    Example:
        >>> import numpy as np
        >>> ptr, col = np.array([0, 2], np.int32), np.array([1, 3], np.uint16)
        >>> check_index(np.zeros(2, np.float32), [ptr, col], "csr", [1, 4])
    """
    status = library.core().gs_check_index(pack.MATRIX.pack(*pack.matrix(values, index, layout, shape)))
    if status:
        raise TopologyError(
            "kernels.cpu.check_index",
            expected=f"an index of layout {layout!r} for shape {list(shape)}",
            got=library.status_text(status),
        )
