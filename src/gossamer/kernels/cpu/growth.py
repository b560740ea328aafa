"""Selection among gradient rows by the compiled core: what growth does with one tile."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossamer.errors import DtypeError, NonFiniteError, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.layouts.arrays import name_of

if TYPE_CHECKING:
    from torch import Tensor

SCORES: Final = struct.Struct("16q")
NOT_FINITE: Final = 10
PANEL: Final = 64  # bytes of inputs that the core takes side by side


class Factors:
    """A tile of a gradient that is not made, by what it is the product of: the selector makes its rows in the cache.

    Args:
        outputs: [batch, rows], float32 or float64 - output gradients, any strides.
        inputs: from `pack_inputs`, of the same dtype and batch.
        columns: int - inputs.
    Example:
        >>> import torch
        >>> Factors(torch.ones(2, 5), pack_inputs([torch.ones(2, 20)]), 20).shape
        (5, 20)
    """

    def __init__(self, outputs: Tensor, inputs: Tensor, columns: int) -> None:
        self.outputs, self.inputs = pack.resolved(outputs), inputs
        self.shape, self.dtype = (outputs.shape[1], columns), outputs.dtype


def pack_inputs(parts: Sequence[Tensor]) -> Tensor:
    """Inputs of all recorded passes, some neighbours of every sample side by side.

    Args:
        parts: [batch, columns] each, float32 or float64.
    Returns:
        [ceil(columns / panel), all batches, panel], of 64 bytes each; zeros past the last column.
    Cost: one copy.
    Example:
        >>> import torch
        >>> pack_inputs([torch.ones(2, 20), torch.ones(3, 20)]).shape
        torch.Size([2, 5, 16])
    """
    columns, panel = parts[0].shape[1], PANEL // parts[0].element_size()
    whole, begin = columns // panel, 0
    packed = parts[0].new_empty(-(-columns // panel), sum(part.shape[0] for part in parts), panel)
    packed[whole:] = 0
    for part in parts:
        into = packed[:, begin : begin + part.shape[0]]
        into[:whole] = part[:, : whole * panel].unflatten(1, (whole, panel)).transpose(0, 1)
        into[whole:, :, : columns - whole * panel] = part[:, whole * panel :]
        begin += part.shape[0]
    return packed


class CompiledSelector:
    """The steps of a streaming selection over tiles of gradient rows, as ``topology.Selector`` defines them.

    Args:
        isa: str - instruction set.
    Cost: each step reads its tile once, or a few times where it is in cache.
    Example:
        >>> import torch
        >>> tile, none = torch.tensor([[1., -9., 5., 0.]]), torch.empty(0, dtype=torch.int64)
        >>> CompiledSelector("scalar").in_buckets(tile, (1, 4, 1, 1), none, torch.tensor([2]), 4).tolist()
        [1, 2]
    """

    def __init__(self, isa: str) -> None:
        self._core, self._isa = library.core(), library.ISAS[isa]

    def in_buckets(
        self,
        tile: Tensor | Factors,
        grid: Sequence[int],
        taken: Tensor,
        want: Tensor,
        bucket: int,
    ) -> Tensor:
        """Ascending positions of the ``want[b]`` best in each bucket; raises NonFiniteError."""
        want = want.contiguous()
        at_want = _address("want", want, "int64", grid[0] * grid[1] // max(bucket, 1))
        total = int(want.sum())
        if not 0 <= total <= grid[0] * grid[1]:
            expected = f"from 0 to {grid[0] * grid[1]} in all"
            raise ShapeError("kernels.cpu.growth.in_buckets", expected=expected, got=str(total))
        chosen = want.new_empty(total)
        status = self._core.gs_grow_in_buckets(
            self._pack(tile, grid, taken), bucket, at_want, chosen.data_ptr(), chosen.numel()
        )
        _check("in_buckets", status)
        return chosen

    def above(
        self,
        tile: Tensor | Factors,
        grid: Sequence[int],
        taken: Tensor,
        floor: float,
        scores: Tensor,
        positions: Tensor,
    ) -> int:
        """Write scores above ``floor`` and their positions, ascending, to the front; how many. NonFiniteError."""
        found = ctypes.c_int64()
        status = self._core.gs_grow_above(
            self._pack(tile, grid, taken), floor, _address("scores", scores, name_of(tile)),
            _address("positions", positions, "int64"), min(scores.numel(), positions.numel()), ctypes.byref(found),
        )  # fmt: skip
        _check("above", status)
        return found.value

    def keep(self, scores: Tensor, positions: Tensor, k: int) -> float:
        """Bring the k best to the front, in order; the smallest of them, 0 for none."""
        least = ctypes.c_double()
        status = self._core.gs_grow_best(
            _dtype(scores), self._isa, _address("scores", scores, name_of(scores)),
            _address("positions", positions, "int64", scores.numel()), scores.numel(), k, ctypes.byref(least),
        )  # fmt: skip
        _check("keep", status)
        return least.value

    def _pack(self, tile: Tensor | Factors, grid: Sequence[int], taken: Tensor) -> bytes:
        rows, cols, h, w = grid
        if tuple(tile.shape) != (rows * h, cols * w) or not (
            isinstance(tile, Factors) or tile.is_contiguous()
        ):
            raise ShapeError("growth", expected=f"a tile of grid {tuple(grid)}", got=f"{tuple(tile.shape)}")
        gradient, factors = (
            (0, _factors(tile)) if isinstance(tile, Factors) else (pack.address(tile), (0,) * 5)
        )
        return SCORES.pack(
            _dtype(tile), self._isa, rows, cols, h, w, 0, taken.numel(),
            gradient, _address("taken", taken, "int64"), library.parallel_for(), *factors,
        )  # fmt: skip


def _factors(tile: Factors) -> tuple[int, int, int, int, int]:
    """Batch, output gradients with their strides, inputs."""
    batch, panel = tile.outputs.shape[0], PANEL // tile.outputs.element_size()
    expected = (-(-tile.shape[1] // panel), batch, panel)
    fits = tuple(tile.inputs.shape) == expected and tile.inputs.dtype == tile.dtype
    if not fits or not tile.inputs.is_contiguous():
        got = f"{tuple(tile.inputs.shape)} of {tile.inputs.dtype}"
        raise ShapeError("growth", expected=f"inputs packed as {expected} of {tile.dtype}", got=got)
    return (
        batch, pack.address(tile.outputs), tile.outputs.stride(1), tile.outputs.stride(0), pack.address(tile.inputs),
    )  # fmt: skip


def _dtype(scores: Tensor | Factors) -> int:
    """``gs_dtype``; raises DtypeError where no selection is compiled for it."""
    name = name_of(scores)
    if name not in {"float32", "float64"}:
        raise DtypeError("growth", expected="float32 or float64", got=name)
    return pack.DTYPES[name][0]


def _address(name: str, vector: Tensor, dtype: str, size: int | None = None) -> int:
    """Where a vector lies, once it is known to be flat, packed, and of that type and size."""
    if name_of(vector) != dtype:
        raise DtypeError("growth", expected=f"{name} of {dtype}", got=name_of(vector))
    if vector.ndim != 1 or not vector.is_contiguous() or size not in {None, vector.numel()}:
        expected = f"{name} flat and contiguous" + ("" if size is None else f", [{size}]")
        raise ShapeError("growth", expected=expected, got=f"{tuple(vector.shape)}, strides {vector.stride()}")
    return pack.address(vector)


def _check(name: str, status: int) -> None:
    if status == NOT_FINITE:
        raise NonFiniteError("growth", expected="finite scores", got="NaN or infinity")
    if status:
        raise ShapeError(
            f"kernels.cpu.growth.{name}",
            expected="a tile, taken positions inside it, and no more wanted than is free",
            got=f"{library.status_text(status)} (status {status})",
        )
