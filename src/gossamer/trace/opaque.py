"""A call that only torch knows: what was traced, with our values put in for the traced ones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Slot:
    """The place of a value among a call's arguments: the ``number``-th input of the node."""

    number: int


def filled(each: Any, values: tuple[Any, ...]) -> Any:
    """An argument with values in its slots, through tuples, lists, dicts and slices.

    Example:
        >>> filled((Slot(0), [slice(None, Slot(1))]), (7, 8))
        (7, [slice(None, 8, None)])
    """
    if isinstance(each, Slot):
        return values[each.number]
    if isinstance(each, tuple):
        parts = [filled(part, values) for part in each]
        return type(each)(*parts) if hasattr(each, "_fields") else tuple(parts)
    if isinstance(each, list):
        return [filled(part, values) for part in each]
    if isinstance(each, dict):
        return {name: filled(part, values) for name, part in each.items()}
    if isinstance(each, slice):
        return slice(*(filled(part, values) for part in (each.start, each.stop, each.step)))
    return each


@dataclass(frozen=True)
class TracedCall:
    """``target(*args, **kwargs)`` with its slots filled by a node's inputs; it can be pickled.

    Args:
        target: what to call.
        args: positional arguments; containers may hold slots.
        kwargs: named arguments, likewise.

    Example:
        >>> import torch
        >>> TracedCall(torch.sub, (5.0, Slot(0)), {"alpha": 2})(torch.tensor(1.0))
        tensor(3.)
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, *values: Any) -> Any:
        """Run it."""
        args = [filled(each, values) for each in self.args]
        return self.target(*args, **{name: filled(each, values) for name, each in self.kwargs.items()})

    def __getstate__(self) -> dict[str, Any]:
        """Some of torch's functions are made by others, and pickle finds them by no name; we say where they are."""
        name, home = getattr(self.target, "__name__", ""), getattr(self.target, "__module__", None)
        if home == "torch.nn.functional" and getattr(import_module(home), name, None) is self.target:
            return {**self.__dict__, "target": _Named(home, name)}
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse."""
        target = state["target"]
        found = getattr(import_module(target.home), target.name) if isinstance(target, _Named) else target
        self.__dict__.update(state, target=found)


@dataclass(frozen=True)
class _Named:
    """A function of a module."""

    home: str
    name: str


@dataclass(frozen=True)
class Method:
    """A tensor method, called on its first argument."""

    name: str

    def __call__(self, this: Any, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return getattr(this, self.name)(*args, **kwargs)


@dataclass(frozen=True)
class Attribute:
    """A tensor that a module holds."""

    owner: nn.Module
    name: str

    def __call__(self) -> Any:
        """Read it."""
        return getattr(self.owner, self.name)
