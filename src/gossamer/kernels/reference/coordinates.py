"""Every layout as coordinates, on tensors: which output, which input, which value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.kernels.operands import known


@dataclass(frozen=True)
class _Tensors:
    """What coordinates are made with on one device."""

    device: torch.device | None

    def arange(self, end: int) -> Tensor:
        return torch.arange(end, device=self.device)

    def repeat(self, numbers: Tensor, counts: Tensor) -> Tensor:
        return torch.repeat_interleave(numbers, counts)

    def wide(self, numbers: Tensor) -> Tensor:
        return numbers.long()

    def spread(self, numbers: Tensor, shape: Sequence[int]) -> Tensor:
        return numbers.expand(*shape)


def coordinates(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row and column of every stored value, in storage order.

    Args:
        index: the layout's integer tensors.
        layout: its name.
        shape: the layout's integers.

    Returns:
        (row, column), int64 [used] each: ``values[i]`` connects input ``column[i]`` to output ``row[i]``.
        Rows past n_out and columns past n_in are padding.

    Raises:
        ShapeError: an unknown layout.

    Cost: O(connections) time and memory.

    Example:
        >>> row, col = coordinates([torch.tensor([[[1], [0]]], dtype=torch.uint8)], "nm", [1, 4, 1, 2])
        >>> row.tolist(), col.tolist()
        ([0, 0], [1, 2])
    """
    return known("kernels.reference", layout).coordinates(index, shape, _made(index))


def inside(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> bool:
    """Whether the reference kernels stay inside their operands; they need no order."""
    return known("kernels.reference", layout).inside(index, shape, _made(index))


def _made(index: Sequence[Tensor]) -> _Tensors:
    return _Tensors(index[0].device if index else None)
