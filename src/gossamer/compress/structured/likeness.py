"""How alike what a block reads and what it gives are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gossamer.compress.batches import batches_of, inputs_of
from gossamer.compress.structured.report import BlockRow
from gossamer.errors import ConfigError, ShapeError
from gossamer.trace.calling import Example
from gossamer.trace.trace import REFUSED


class PassOn(nn.Identity):
    """In the place of a block that is called with more than one argument: it gives back the first.

    Example:
        >>> PassOn()(1, mask=None)
        1
    """

    def forward(self, input: Any, *_others: Any, **_named: Any) -> Any:  # noqa: A002 (torch's name)
        """The first argument."""
        return input


def measured(
    operation: str, twin: nn.Module, call: Example, names: list[str], data: Any
) -> tuple[list[BlockRow], dict[str, nn.Module]]:
    """A row for each block, and what takes its place.

    Args:
        operation: str - named in errors.
        twin: nn.Module - a copy in evaluation.
        call: Example.
        names: of its blocks.
        data: batches, or None: the example.

    Raises:
        ConfigError: a block that is not called. ShapeError: one that changes the shape, or data that the model refuses.

    Cost: one pass for each batch.
    """
    cosines: dict[str, list[Tensor]] = {name: [] for name in names}
    alone = dict.fromkeys(names, True)
    modules = dict(twin.named_modules())

    def watch(name: str) -> Any:
        def look(_m: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
            alone[name] &= len(given) == 1 and not named
            cosines[name].append(_cosine(f"{operation} {name}", given[0] if given else None, result))

        return look

    handles = [modules[name].register_forward_hook(watch(name), with_kwargs=True) for name in names]
    try:
        _run(operation, twin, call, data)
    finally:
        for handle in handles:
            handle.remove()
    if unseen := [name for name in names if not cosines[name]]:
        raise ConfigError(
            f"{operation}(blocks=)",
            expected="blocks that the model calls",
            got=f"{unseen[0]}, which it does not",
        )
    rows = [
        BlockRow(
            name,
            type(modules[name]).__name__,
            float(torch.cat(cosines[name]).mean()),
            sum(parameter.numel() for parameter in modules[name].parameters()),
        )
        for name in names
    ]
    return rows, {name: nn.Identity() if alone[name] else PassOn() for name in names}


@torch.no_grad()
def _run(operation: str, twin: nn.Module, call: Example, data: Any) -> None:
    """Batch after batch, or the example; raises ShapeError where the model refuses one."""
    batches = [None] if data is None else batches_of(data, f"{operation}(data=)")
    for number, batch in enumerate(batches):
        one = call if data is None else Example.of(twin, inputs_of(batch))
        try:
            one.call(twin, one.values)
        except ShapeError:
            raise
        except REFUSED as error:
            raise ShapeError(
                f"{operation}(data=) batch {number}", expected="inputs that the model takes", got=str(error)
            ) from error


def _cosine(operation: str, x: Any, y: Any) -> Tensor:
    """[vectors], float64: the cosines of what a block reads and gives; raises ShapeError."""
    both = isinstance(x, Tensor) and isinstance(y, Tensor)
    if not both or (x.shape, x.dtype) != (y.shape, y.dtype):
        said = [str(list(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in (x, y)]
        raise ShapeError(
            operation,
            expected="a block that gives a tensor of the shape and type that it reads first",
            got=f"{said[1]} of {said[0]}",
        )
    first, second = ((each if each.dim() == 3 else each.flatten(1)).double() for each in (x, y))
    return torch.cosine_similarity(first, second, dim=-1).flatten()
