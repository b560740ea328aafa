"""What layers put out in a pass, seen by hooks that are removed again; and passes that leave a model as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, StateError
from gossamer.registry import did_you_mean


class Capture:
    """The outputs of named layers in one pass of a model.

    Args:
        model: nn.Module.
        names: of its layers; without any there are no hooks.
        who: str - what errors call the model.
        resting: bool - passes without gradient are seen too; else they are an evaluation's, and none of the training.
    Raises:
        ConfigError: a name that is no layer of the model.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], who: str, *, resting: bool = False) -> None:
        self.who, self.names = who, tuple(dict.fromkeys(names))
        there = dict(model.named_modules())
        for name in self.names:
            if name not in there:
                raise ConfigError(
                    "distill",
                    expected=f"a layer of the {who}",
                    got=repr(name),
                    hint=did_you_mean(name, there),
                )
        self.found: dict[str, tuple[Tensor, int]] = {}  # with the count of writes to it, when it was seen
        self.repeated: set[str] = set()
        self.passes, self.running, self.resting = 0, False, resting
        self._hooks: list[Any] = []
        if self.names:
            self._hooks += [
                model.register_forward_pre_hook(self._begin),
                model.register_forward_hook(self._end, always_call=True),
            ]
            self._hooks += [there[name].register_forward_hook(self._note(name)) for name in self.names]

    def close(self) -> None:
        """Remove the hooks, and forget what was seen."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.forget()

    def forget(self) -> None:
        """As if no pass had been."""
        self.found.clear()
        self.repeated.clear()
        self.passes, self.running = 0, False

    def take(self) -> dict[str, Tensor]:
        """What one pass put out; the next ``take`` needs another pass.

        Raises:
            StateError: no pass or several since the last one, a layer that was not called or called twice, or an output
                that was written over since.
        """
        found, repeated, passes = dict(self.found), set(self.repeated), self.passes
        self.forget()
        if not self.names:
            return {}
        if passes != 1:
            raise self._error(
                f"one pass of the {self.who} for every loss", str(passes), "call the loss after each pass"
            )
        for name in self.names:
            if name not in found or name in repeated:
                how = "called more than once" if name in repeated else "not called"
                raise self._error(f"one call of {name} in a pass of the {self.who}", how)
            tensor, writes = found[name]
            if tensor._version != writes:  # noqa: SLF001 (torch's own count of writes)
                raise self._error(
                    f"the output of {name}, of the {self.who}, as it was",
                    "one that the next layer wrote over",
                    "name the next layer, which works in place, instead",
                )
        return {name: tensor for name, (tensor, _) in found.items()}

    def _begin(self, *_: Any) -> None:
        if torch.is_grad_enabled() or self.resting:
            self.found.clear()
            self.repeated.clear()
            self.passes, self.running = self.passes + 1, True

    def _end(self, *_: Any) -> None:
        self.running = False  # what checkpointing computes again in the backward pass is not seen

    def _note(self, name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self.running:
                if name in self.found:
                    self.repeated.add(name)
                tensor = tensor_of(output, f"{name} of the {self.who}")
                self.found[name] = tensor, tensor._version  # noqa: SLF001

        return note

    def _error(self, expected: str, got: str, hint: str = "") -> StateError:
        return StateError("distill", expected=expected, got=got, hint=hint)


TEACHER, STUDENT = "teacher", "student"


def tensor_of(output: Any, what: str) -> Tensor:
    """The tensor that an output is or begins with: itself, its ``logits``, or the first of a tuple.

    Args:
        output: of a layer or a network.
        what: str - named in the error.
    Raises:
        ConfigError: no such tensor.
    Example:
        >>> tensor_of((torch.ones(1), None), "a block")
        tensor([1.])
    """
    found = getattr(output, "logits", output)
    if isinstance(found, (tuple, list)) and found:
        found = found[0]
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise ConfigError(
            "distill", expected=f"a float tensor as output of {what}", got=type(output).__name__
        )
    return found


def call(model: nn.Module, inputs: Any) -> Any:
    """A model called with a tensor, a tuple of arguments, or a dictionary of named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


@contextmanager
def resting(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode and without gradient; every part gets its mode back, after an error too."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def observed(
    model: nn.Module, names: Iterable[str], inputs: Any, who: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """Output of a resting model, and those of some of its layers; the hooks are gone afterwards."""
    capture = Capture(model, names, who, resting=True)
    try:
        with resting(model):
            output = tensor_of(call(model, inputs), f"the {who}")
        return output, capture.take()
    finally:
        capture.close()
