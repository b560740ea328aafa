"""Tensors as they travel in a pickle: bytes of their own.

torch cannot read its own pickles of 16-bit unsigned tensors. And where a tensor is sent to another process, torch moves
the sender's own memory to a shared place; kernels that were given its address would read what is there no more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Bytes = tuple[Any, torch.dtype, tuple[int, ...]]


def as_bytes(tensor: Tensor | None) -> Bytes | None:
    """Bytes, dtype and shape of a tensor.

    Example:
        >>> restored(as_bytes(torch.tensor([[7]], dtype=torch.uint16)))
        tensor([[7]], dtype=torch.uint16)
    """
    if tensor is None:
        return None
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().copy(), tensor.dtype, tuple(tensor.shape)


def restored(held: Bytes | None) -> Tensor | None:
    """The tensor again, in memory as torch lays it out."""
    if held is None:
        return None
    array, dtype, shape = held
    return torch.tensor(array, device="cpu").view(dtype).view(shape)
