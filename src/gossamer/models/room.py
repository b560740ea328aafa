"""What memory a network will take, counted before it is taken."""

from __future__ import annotations

from math import prod
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LARGE: Final = 1 << 20  # bytes of a tensor that is only counted: code may read the numbers of smaller ones


class Counting(TorchDispatchMode):
    """Inside of it large tensors have no memory, on the meta device, and ``bytes`` is what all new ones would take.

    Example:
        >>> with Counting() as counted:
        ...     layer = torch.nn.Linear(1 << 25, 1 << 25, bias=False)
        >>> layer.weight.device, counted.bytes
        (device(type='meta'), 4503599627370496)
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch does it, but for large new tensors."""
        given = kwargs or {}
        if func is torch.ops.aten.empty.memory_format and str(given.get("device")) != "meta":
            size = prod(args[0]) * (given.get("dtype") or torch.get_default_dtype()).itemsize
            self.bytes += size
            if size > LARGE:
                given = given | {"device": torch.device("meta")}
        return func(*args, **given)
