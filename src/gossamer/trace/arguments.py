"""The arguments of a traced call, sorted: the values it computes from, and what is written beside them."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import fx

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMUTES = (operator.add, operator.mul, torch.add, torch.mul)
FIRST = ("input", "tensors")  # what torch calls the argument that its operators compute from
KEPT = 0  # in the place of a batch size: the one that there is


class Said(NamedTuple):
    """A call's arguments.

    Args:
        inputs: the values that it computes from.
        rest: its other positional arguments.
        named: those given by name.
    """

    inputs: list[fx.Node]
    rest: list[Any]
    named: dict[str, Any]


def said(node: fx.Node, arity: int | None) -> Said | None:
    """Sort a call's arguments.

    Args:
        node: fx.Node - a call of a function or of a method.
        arity: int - how many values it computes from; None: those of one list.

    Returns:
        Said, or None where it computes from other values, or its other arguments depend on values.
    """
    args, named = list(node.args), dict(node.kwargs)
    args[:0] = [named.pop(name) for name in FIRST if name in named]
    if node.target in COMMUTES and len(args) == 2 and not isinstance(args[0], fx.Node):
        args.reverse()
    count = 1 if arity is None else arity
    values = args[:count]
    if arity is None:
        values = list(values[0]) if values and isinstance(values[0], (list, tuple)) else []
    inputs = [value for value in values if isinstance(value, fx.Node)]
    if not inputs or len(inputs) != len(values) or arity not in (None, len(inputs)):
        return None
    rest = [_kept(argument, inputs) for argument in args[count:]]
    if nodes_of((rest, named)):
        return None
    return Said(inputs, rest, named)


def nodes_of(arguments: Any) -> list[fx.Node]:
    """Every value among arguments, through tuples, lists, dicts and slices."""
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, found.append)
    return found


def _kept(argument: Any, values: list[fx.Node]) -> Any:
    """An argument in which the batch size is a number of its own."""
    if isinstance(argument, (tuple, list)):
        return type(argument)(_kept(part, values) for part in argument)
    return KEPT if _is_batch_size(argument, values) else argument


def _is_batch_size(argument: Any, values: list[fx.Node]) -> bool:
    """Whether it is the first size of a value that the call computes from, or of one that the model is given."""
    return any(of in values or of.op == "placeholder" for of in _sized(argument))


def _sized(argument: Any) -> Iterator[fx.Node]:
    """The value whose first size this is: ``x.size(0)``, ``x.shape[0]`` or ``x.size()[0]``; or none."""
    if not isinstance(argument, fx.Node):
        return
    if argument.op == "call_method" and argument.target == "size" and argument.args[1:] == (0,):
        yield cast("fx.Node", argument.args[0])
    elif argument.target is operator.getitem and argument.args[1] == 0:
        sizes = argument.args[0]
        if isinstance(sizes, fx.Node) and (
            (sizes.target is getattr and sizes.args[1] == "shape")
            or (sizes.target == "size" and len(sizes.args) == 1)
        ):
            yield cast("fx.Node", sizes.args[0])


def part_of(node: fx.Node) -> tuple[fx.Node, int] | None:
    """The call that gives several values, and the number of the one that is taken; or None."""
    if node.target is not operator.getitem:
        return None
    source, number = node.args
    return (source, number) if isinstance(source, fx.Node) and type(number) is int else None


def count_of(node: fx.Node) -> int | None:
    """How many values a call gives, where its arguments say so."""
    asked: Any = node.args[1] if len(node.args) > 1 else next(iter(node.kwargs.values()), None)
    if node.target in (torch.chunk, "chunk"):
        return asked if isinstance(asked, int) else None
    if node.target in (torch.split, "split"):
        return len(asked) if isinstance(asked, (tuple, list)) else None
    return None
