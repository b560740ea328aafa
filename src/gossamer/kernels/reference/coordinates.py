"""Every layout as coordinates: which output, which input, which value. The definition of the layouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def _csr(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    pointer, col = (t.long() for t in index)
    row = torch.repeat_interleave(torch.arange(shape[0], device=col.device), pointer.diff())
    return row, col[: row.numel()]


def _fanin(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    rows, cols = (t.long() for t in index)
    group = shape[2]
    member = torch.arange(group, device=cols.device)
    row = (rows[:, None, None] * group + member).expand(*cols.shape, group)
    return row.reshape(-1), cols[:, :, None].expand(*cols.shape, group).reshape(-1)


def _nm(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    (offset,) = index
    n_out, n_in, _, m = shape
    row = torch.arange(n_out, device=offset.device)[:, None, None].expand(offset.shape)
    tile = torch.arange(n_in // m, device=offset.device)[None, :, None]
    return row.reshape(-1), (tile * m + offset.long()).reshape(-1)


def _nm_lanes(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    (offset,) = index
    _, n_in, _, m = shape
    lane = torch.arange(8, device=offset.device)
    row = (torch.arange(offset.shape[0], device=offset.device)[:, None, None, None] * 8 + lane).expand(
        offset.shape
    )
    tile = torch.arange(n_in // m, device=offset.device)[None, :, None, None]
    return row.reshape(-1), (tile * m + offset.long()).reshape(-1)


def _nm_bytes(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    (offset,) = index
    m = shape[3]
    block, pair, _, neuron, _ = (
        torch.arange(size, device=offset.device).view([-1 if d == axis else 1 for d in range(5)])
        for axis, size in enumerate(offset.shape)
    )
    row = (block * 16 + neuron).expand(offset.shape)
    return row.reshape(-1), (pair * 2 * m + offset.long()).reshape(-1)


def _dense(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    del index
    flat = torch.arange(shape[0] * shape[1])
    return flat // max(shape[1], 1), flat % max(shape[1], 1)


def _csr_bands(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    starts, col = (t.long() for t in index)
    n_out, _, band = shape
    part = torch.repeat_interleave(torch.arange(starts.numel() - 1, device=col.device), starts.diff())
    return part % max(n_out, 1), part // max(n_out, 1) * band + col[: part.numel()]


def _block(index: Sequence[Tensor], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    n_out, n_in, h, w = shape
    row, col = _csr(index, (n_out // h, n_in // w))
    member = torch.arange(h * w, device=col.device)
    return (row[:, None] * h + member // w).reshape(-1), (col[:, None] * w + member % w).reshape(-1)


_LAYOUTS = {
    "csr": _csr,
    "fanin": _fanin,
    "nm": _nm,
    "nm_lanes": _nm_lanes,
    "nm_bytes": _nm_bytes,
    "dense": _dense,
    "csr_bands": _csr_bands,
    "block": _block,
}


def coordinates(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row and column of every stored value, in storage order.

    Args:
        index: the layout's integer tensors.
        layout: ``"csr"``, ``"fanin"``, ``"nm"``, ``"nm_lanes"``, ``"nm_bytes"``, ``"csr_bands"``, ``"block"`` or
            ``"dense"``.
        shape: the layout's integers.

    Returns:
        (row, column), int64 [used] each: ``values[i]`` connects input ``column[i]`` to output ``row[i]``.
        Rows past n_out are padding of ``"nm_lanes"`` and ``"nm_bytes"``, columns past n_in of the latter.

    Raises:
        ShapeError: an unknown layout.

    Cost: O(connections) time and memory.

    Example:
        >>> import torch
        >>> row, col = coordinates([torch.tensor([[[1], [0]]], dtype=torch.uint8)], "nm", [1, 4, 1, 2])
        >>> row.tolist(), col.tolist()
        ([0, 0], [1, 2])
    """
    if layout not in _LAYOUTS:
        raise ShapeError("kernels.reference", expected=f"a layout of {', '.join(_LAYOUTS)}", got=repr(layout))
    return _LAYOUTS[layout](index, shape)
