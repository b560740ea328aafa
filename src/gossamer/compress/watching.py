"""Running a model while somebody looks at what flows into its layers, and out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.compress.batches import run
from gossamer.compress.untouched import untouched
from gossamer.errors import GossamerError, StateError

Calls = Counter[str]


class _EnoughError(BaseException):  # no Exception, which a model may catch
    """Ends a pass whose rest nobody looks at."""


def watch_inputs(
    model: nn.Module,
    batch: Any,
    layers: Mapping[str, nn.Module],
    look: Callable[[str, nn.Module, Tensor], None],
    operation: str,
    calls: Calls | None = None,
) -> None:
    """Run a batch in evaluation, and have ``look`` told of every input of these layers before they compute.

    Args:
        model: nn.Module - left as it was, hooks included.
        batch: inputs, a pair whose first is the input, or a mapping of keyword arguments.
        layers: name -> layer of the model.
        look: (name, layer, input) -> None.
        operation: str - in front of the layer's name in errors of ``look``.
        calls: Counter or None - how often the model calls each layer: the pass ends behind the last of these.
    """
    left = None if calls is None else Calls({name: calls[name] for name in layers})

    def before(name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with _named(f"{operation} {name}"):
            look(name, layer, _input(args, kwargs))
        if left is not None:
            left[name] -= 1
            if not any(count > 0 for count in left.values()):
                raise _EnoughError

    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(partial(before, name), with_kwargs=True))
        with untouched(model, False), torch.no_grad(), suppress(_EnoughError):
            run(model, batch)
    finally:
        for handle in handles:
            handle.remove()


def watch_outputs(
    model: nn.Module,
    batch: Any,
    layers: Mapping[str, nn.Module],
    look: Callable[[str, Tensor, Tensor], None],
    operation: str,
) -> None:
    """The same with (name, input, output) behind every call; ``look`` may call the layer itself."""
    busy: list[str] = []

    def after(
        name: str, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> None:
        if busy:
            return
        busy.append(name)
        try:
            with _named(f"{operation} {name}"):
                look(name, _input(args, kwargs), output.detach())
        finally:
            busy.pop()

    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(partial(after, name), with_kwargs=True))
        with untouched(model, False), torch.no_grad():
            run(model, batch)
    finally:
        for handle in handles:
            handle.remove()


def refuse_unreached(operation: str, names: Iterable[str]) -> None:
    """Refuse layers into which nothing flowed; raises StateError with their names."""
    if left := sorted(names):
        raise StateError(
            f"{operation} {', '.join(left)}",
            expected="layers that the model calls on these batches",
            got="no call with a sample",
            hint="leave them out with skip= or layers=, or give batches that reach them",
        )


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The input of a layer, however it was given."""
    found: Tensor = args[0] if args else next(iter(kwargs.values()))
    return found.detach()


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Errors of ours say in which layer."""
    try:
        yield
    except GossamerError as error:
        raise error.within(where) from None
