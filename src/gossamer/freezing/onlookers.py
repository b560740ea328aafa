"""Who else looks at a call: tracers, modes and transforms of torch, which do not see a call into the core."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import fx
from torch._C import _functorch, _get_tracing_state, _len_torch_dispatch_stack

from gossamer.errors import StateError

_peek = _functorch.peek_interpreter_stack


def onlookers() -> bool:
    """Whether anybody does; asked at every call, so it takes a tenth of a microsecond.

    Example:
        >>> onlookers()
        False
    """
    return bool(_len_torch_dispatch_stack()) or _peek() is not None or _get_tracing_state() is not None


def on_cpu() -> AbstractContextManager[object]:
    """Makes new tensors on the CPU, whatever torch's default device is; costs nothing where that is the CPU.

    Example:
        >>> with torch.device("meta"), on_cpu():
        ...     torch.zeros(1).device
        device(type='cpu')
    """
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def refuse(inputs: list[Any]) -> None:
    """Refuse those to which a frozen network cannot say what it does; raises StateError."""
    if any(isinstance(x, fx.Proxy) for x in inputs):
        raise StateError(
            "Frozen",
            expected="tensors",
            got="a symbolic value of torch.fx",
            hint="make gossamer's Frozen a leaf of the tracer, or use torch.export",
        )
    kinds = {each.key() for each in _functorch.get_interpreter_stack() or ()}
    if kinds - {_functorch.TransformType.Vmap, _functorch.TransformType.Functionalize}:
        raise StateError(
            "Frozen",
            expected="a call outside of torch.func.grad, vjp and jvp",
            got="one inside",
            hint="a frozen network gives no gradient; use the model that it was frozen from",
        )
    from torch._guards import detect_fake_mode

    mode = detect_fake_mode(inputs)
    if mode is not None and not mode.allow_non_fake_inputs:
        raise StateError(
            "Frozen",
            expected="tensors that hold data, as its weights do",
            got="a fake tensor or FakeTensorMode",
            hint="use FakeTensorMode(allow_non_fake_inputs=True), tracing_mode='real', or torch.export",
        )
