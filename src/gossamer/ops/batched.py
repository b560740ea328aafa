"""The operators under ``torch.vmap``: one call where only samples multiply, else one call a slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gossamer.ops.schemas import LIBRARY

Dims = tuple[Any, ...]  # of each operand: None, or where its batch dimension is; a list for the index
Rule = Callable[..., tuple[Any, Any]]


def _slice(operand: Any, dim: Any, number: int) -> Any:
    """One of many operands, packed as kernels want them."""
    if isinstance(operand, list | tuple) and isinstance(dim, list | tuple):
        return [_slice(*pair, number) for pair in zip(operand, dim, strict=True)]
    return operand if dim is None else operand.select(dim, number).contiguous()


def _shared(dim: Any) -> bool:
    return all(_shared(each) for each in dim) if isinstance(dim, list | tuple) else dim is None


def one_by_one(run: Any) -> Rule:
    """A rule for any operator: as many calls as slices."""

    def rule(info: Any, dims: Dims, *operands: Any) -> tuple[Any, Any]:
        made = [run(*map(_slice, operands, dims, [n] * len(operands))) for n in range(info.batch_size)]
        if isinstance(made[0], tuple):
            return tuple(torch.stack(part) for part in zip(*made, strict=True)), (0,) * len(made[0])
        return torch.stack(made), 0

    return rule


def _of_samples(run: Any) -> Rule:
    """A rule for operators of which the first operand has a row a sample, as has the result."""
    apart = one_by_one(run)

    def rule(info: Any, dims: Dims, x: Tensor, *others: Any) -> tuple[Any, Any]:
        if not _shared(dims[1:]):
            return apart(info, dims, x, *others)
        many = x.movedim(dims[0], 0)
        y: Tensor = run(many.flatten(0, 1), *others)
        return y.unflatten(0, many.shape[:2]), 0

    return rule


def _register(name: str, make: Callable[[Any], Rule]) -> None:
    run: Any = getattr(torch.ops.gossamer, name).default
    torch.library.register_vmap(f"gossamer::{name}", make(run), lib=LIBRARY)


def register(one_call: Sequence[str], many_calls: Sequence[str]) -> None:
    """Make operators known to ``torch.vmap``.

    Args:
        one_call: names of operators whose first operand and result have a row a sample.
        many_calls: names of others.
    """
    for name in one_call:
        _register(name, _of_samples)
    for name in many_calls:
        _register(name, one_by_one)


register(("linear", "linear_grad_input"), ("linear_grad_values",))
