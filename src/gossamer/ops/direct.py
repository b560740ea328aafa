"""Whether an operator may be run without torch's dispatcher, which takes longer than a small product."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

# What the dispatcher looks at beside the operands: it tells of every mode, transform and tracer of this thread.
_surroundings: Final = torch._C._dispatch_tls_local_include_set  # noqa: SLF001 (as torch's own Python does)
_profiled: Final = torch._C._autograd._profiler_enabled  # noqa: SLF001
_overridden: Final = torch._C._len_torch_function_stack  # noqa: SLF001
_keys: Final = torch._C._dispatch_keys  # noqa: SLF001


def _ordinary() -> tuple[frozenset[int], frozenset[int]]:
    """The surroundings of plain code, and what the dispatcher sees of plain tensors on the CPU."""
    around, seen = {_surroundings().raw_repr()}, {_keys(torch.empty(0)).raw_repr()}
    with torch.inference_mode():
        around.add(_surroundings().raw_repr())
        seen.add(_keys(torch.empty(0)).raw_repr())
    return frozenset(around), frozenset(seen)


_AROUND, _SEEN = _ordinary()
with torch.autocast("cpu", dtype=torch.bfloat16):
    _AUTOCAST: Final = frozenset({_surroundings().raw_repr()})


def direct(*operands: Tensor | None, autocast: bool = False) -> bool:
    """Whether the kernel is all that an operator would reach: plain CPU tensors, and nothing that listens.

    False while torch compiles, exports or traces, under vmap and other transforms, modes, autocast's casts and the
    profiler, for subclasses, and for tensors whose memory is not what they say (negative, batched, without storage).

    Args:
        operands: Tensor or None.
        autocast: bool - whether the kernel stands for autocast's casts itself, so that it may be on.

    Cost: under a microsecond.

    Example:
        >>> direct(torch.ones(2), None), direct(torch.ones(2, device="meta"))
        (True, False)
    """
    if torch.compiler.is_compiling() or _surroundings().raw_repr() not in (
        _AUTOCAST if autocast else _AROUND
    ):
        return False
    if _profiled() or _overridden() or forward_ad._current_level >= 0:  # noqa: SLF001
        return False
    for tensor in operands:
        if type(tensor) is Parameter:  # what a module holds is plain but for these, which are quicker to ask
            if not tensor.is_cpu or tensor.is_neg():
                return False
        elif tensor is not None and (type(tensor) is not Tensor or _keys(tensor).raw_repr() not in _SEEN):
            return False
    return True
