"""Activations and softmax by the compiled core: of tensors and of arrays, the same bits."""

from __future__ import annotations

import struct
import sys
from typing import Any, Final

from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.dispatch import forced_set
from gossamer.layouts.arrays import name_of

NUMBERS: Final = struct.Struct("4qd3q")
LINES: Final = struct.Struct("9q")
DTYPES: Final = {"float32": 0, "float64": 1}


def activate(x: Any, activation: str, slope: float = 0.0) -> Any:
    """Every number through an activation, as layers have it behind their sums, to the bit.

    Args:
        x: any shape and strides, float32 or float64 on the CPU - tensor or array.
        activation: str - its name.
        slope: float - of ``"leaky_relu"``; of ``"elu"`` its alpha.

    Returns:
        Like x, new, in the order of memory of x where that has no gaps.

    Raises:
        DtypeError: another type. KernelUnavailable: no compiled core.

    Cost: one pass over memory.

    Example:
        >>> import numpy as np
        >>> activate(np.array([-1.0, 2.0]), "relu").tolist()
        [0.0, 2.0]
    """
    x, out = _source(x)
    size = x.numel() if hasattr(x, "data_ptr") else x.size
    call = NUMBERS.pack(
        DTYPES[name_of(x)], forced_isa(), size, pack.ACTIVATIONS[activation], slope,
        pack.address(x), pack.address(out), library.parallel_for(),
    )  # fmt: skip
    _run(library.core().gs_activate(call))
    return out


def softmax(x: Any, dim: int, *, logarithm: bool = False) -> Any:
    """Softmax along a dimension, or its logarithm.

    Args:
        x: any shape but none, any strides, float32 or float64 on the CPU - tensor or array.
        dim: int - from the end where negative.
        logarithm: bool.

    Returns:
        Like x, new; bits do not depend on the order of memory, the batch or the threads.

    Raises:
        DtypeError: another type. KernelUnavailable: no compiled core.

    Cost: three passes over memory.

    Example:
        >>> import numpy as np
        >>> softmax(np.zeros((1, 2)), -1).tolist()
        [[0.5, 0.5]]
    """
    x, out = _source(x)
    n, strides = x.shape[dim], pack.strided(out)[1]
    size = x.numel() if hasattr(x, "data_ptr") else x.size
    inner = strides[dim] if n > 1 else size
    call = LINES.pack(
        DTYPES[name_of(x)], forced_isa(), size // (n * inner) if size else 0, n, inner, int(logarithm),
        pack.address(x), pack.address(out), library.parallel_for(),
    )  # fmt: skip
    _run(library.core().gs_softmax(call))
    return out


def _source(x: Any) -> tuple[Any, Any]:
    """What to read, in memory without gaps, and room for the result, in the same order."""
    if name_of(x) not in DTYPES:
        raise DtypeError("kernels.cpu.numbers", expected="float32 or float64", got=name_of(x))
    x = pack.resolved(x)
    if hasattr(x, "data_ptr"):
        out = sys.modules["torch"].empty_like(x)
        return (x if x.stride() == out.stride() else out.clone().copy_(x)), out
    import numpy as np

    out = np.empty_like(x)
    ready = x.flags.aligned and x.strides == out.strides
    if ready:
        return x, out
    source = np.empty_like(out)
    source[...] = x
    return source, out


def forced_isa() -> int:
    """The instruction set that is forced, else the core's own choice; raises KernelUnavailable."""
    forced = forced_set()
    if forced == "reference":
        raise KernelUnavailable("kernels.cpu.numbers", expected="an instruction set", got="reference, forced")
    return -1 if forced is None else library.ISAS[forced]


def _run(status: int) -> None:
    if status:
        raise ShapeError("kernels.cpu.numbers", expected="memory that fits", got=library.status_text(status))
