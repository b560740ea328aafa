"""Tensors as arrays and arrays as tensors: the same memory under the other name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gossamer.errors import DtypeError
from gossamer.layouts.arrays import BFLOAT16

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array


def array_of(tensor: Tensor) -> Array:
    """The numbers of a tensor, not copied unless it says "negative" about its memory; it keeps no gradient.

    Args:
        tensor: strided, on the CPU, of any dtype that NumPy has, or bfloat16.

    Returns:
        Array.

    Raises:
        DtypeError: a tensor without such memory.

    Example:
        >>> array_of(torch.ones(2, requires_grad=True)), array_of(torch.ones(1).bfloat16()).dtype == BFLOAT16
        (array([1., 1.], dtype=float32), True)
    """
    try:
        plain = tensor.detach().resolve_neg().resolve_conj()
        if plain.dtype == torch.bfloat16:
            return plain.view(torch.uint16).numpy().view(BFLOAT16)
        return plain.numpy()
    except (TypeError, RuntimeError) as error:
        got = f"{tensor.dtype} on {tensor.device}, {tensor.layout}: {error}"
        raise DtypeError("array of a tensor", expected="a strided tensor on the CPU", got=got) from None


def tensor_of(array: Array) -> Tensor:
    """The numbers of an array, not copied.

    Example:
        >>> import numpy as np
        >>> tensor_of(np.ones(2, np.uint16)).dtype, tensor_of(np.zeros(1, BFLOAT16)).dtype
        (torch.uint16, torch.bfloat16)
    """
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view("u2")).view(torch.bfloat16)
    return torch.from_numpy(array)


def dtype_named(name: str) -> torch.dtype:
    """Torch's dtype of a name.

    Example:
        >>> dtype_named("bfloat16")
        torch.bfloat16
    """
    found: torch.dtype = getattr(torch, name)
    return found
