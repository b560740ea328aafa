"""Bytes of tensors: counted here, and nowhere else."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from torch import Tensor


def nbytes(tensors: Iterable[Tensor | np.ndarray[Any, Any] | None]) -> int:
    """What tensors or arrays hold.

    Args:
        tensors: iterable of Tensor, array or None, which counts as nothing.

    Returns:
        int - bytes of all the numbers that their shapes say.

    Cost: O(tensors); no number is read.

    Example:
        >>> import torch
        >>> nbytes([torch.zeros(3), torch.zeros(2, dtype=torch.uint16), torch.eye(2).to_sparse(), None])
        32
    """
    held = (tensor for tensor in tensors if tensor is not None)
    return sum(
        prod(tensor.shape) * tensor.dtype.itemsize for tensor in held
    )  # torch's sparse ones have no nbytes
