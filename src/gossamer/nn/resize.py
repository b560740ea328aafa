"""A parameter that gets another size and stays the same object."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import StateError

OUTSIDE = "call gossamer.{} outside of the compiled function; it is compiled again then"


def resize_(parameter: nn.Parameter, size: int, states: Iterable[Tensor] = ()) -> None:
    """Keep the first entries of a flat parameter, of its gradient and of states of its shape, or add zeros at the end.

    Args:
        parameter: nn.Parameter [n] - stays the same object, for optimizers hold it.
        size: int - entries afterwards; their memory has that size.
        states: tensors [n] - in place too.
    Raises:
        StateError: the parameter is in the buckets of a DistributedDataParallel, or a step is being compiled; nothing
            is changed.
    Cost: a copy of what stays; nothing where the size is that already.
    Example:
        >>> p = nn.Parameter(torch.arange(4.0)); resize_(p, 2); p
        Parameter containing:
        tensor([0., 1.], requires_grad=True)
    """
    if size == parameter.numel():
        return
    refuse_fixed_size(parameter)
    gradient = [] if parameter.grad is None else [parameter.grad]
    for tensor in {id(t): t for t in (parameter, *gradient, *states)}.values():
        kept = tensor.detach().new_zeros(size)
        kept[: tensor.numel()] = tensor.detach()[:size]
        put_(tensor, kept)


def put_(tensor: Tensor, kept: Tensor) -> None:
    """Other numbers, of any shape and the same dtype, in a tensor that stays the same object."""
    if isinstance(tensor, nn.Parameter):  # torch forgets what backward expects only where the dtype changes
        other = torch.float64 if kept.dtype != torch.float64 else torch.float32
        tensor.data = kept.detach().to(other)[:0]
    tensor.data = kept.detach()


def refuse_compiling(operation: str = "compact") -> None:
    """Refuse a size that changes inside of a compiled step; StateError, or torch's Unsupported with fullgraph."""
    if torch.compiler.is_compiling():
        hint = OUTSIDE.format(operation)
        torch._dynamo.graph_break(f"{operation}: {hint}")  # noqa: SLF001 (where none is allowed, torch says why)
        raise StateError(
            operation, expected="a call between two steps", got="one inside of a compiled step", hint=hint
        )


def refuse_fixed_size(parameter: nn.Parameter, operation: str = "compact") -> None:
    """Refuse where somebody else counts on the size of a parameter; raises StateError.

    Cost: a walk over all objects of the process where DistributedDataParallel was imported and processes are connected.
    """
    refuse_compiling(operation)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    wrapper = sys.modules["torch.nn.parallel"].DistributedDataParallel
    if living_one(wrapper, lambda found: any(p is parameter for p in found.parameters())):
        raise StateError(
            operation,
            expected="a model that no DistributedDataParallel holds, whose buckets have the size of its parameters",
            got="one that is wrapped",
            hint="delete the wrapper, call it on the inner model on every rank, and wrap it again with "
            "gossamer.parallel.data_parallel",
        )


def living_one(kind: type, wanted: Callable[[Any], bool]) -> Any:
    """An object of the process of this kind that is wanted, or None; what only waits to be collected does not count.

    It is looked for among what refers to the class, as every object of it does. A list of all objects would hold tuples
    that other threads are just making, and Python refuses to finish those.

    Args:
        kind: type - a class of Python code.
        wanted: object -> bool.
    Cost: a walk over all objects of the process.
    """
    for collected in (False, True):
        found = next(
            (o for o in gc.get_referrers(*_classes(kind)) if issubclass(type(o), kind) and wanted(o)), None
        )
        if found is None or collected:
            return found
        del found
        gc.collect()
    return None


def _classes(kind: type) -> list[type]:
    """A class and all that are derived from it."""
    below: list[type] = type.__subclasses__(kind)
    return [kind, *(each for derived in below for each in _classes(derived))]
