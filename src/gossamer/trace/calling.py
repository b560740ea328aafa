"""How a model is called: its example by name and by position, and the same for the frozen network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gossamer.errors import ConfigError, ShapeError
from gossamer.trace.opaque import Slot, TracedCall

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Example:
    """The inputs of one call of a model. An argument that is None counts as not given, and stays None.

    Args:
        names: of the inputs, in the order of the model's ``forward``.
        values: one for each name.
        args: what is given by position, with a Slot for every input.
        kwargs: what is given by name, likewise.

    Example:
        >>> import torch
        >>> example = Example.of(nn.Bilinear(2, 2, 1), {"input2": torch.ones(1, 2), "input1": torch.zeros(1, 2)})
        >>> example.names, example.call(lambda a, b: a - b, example.values)
        (('input1', 'input2'), tensor([[-1., -1.]]))
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module, given: Any) -> Example:
        """Read what the caller of ``freeze`` gave.

        Args:
            model: nn.Module.
            given: a tensor, a tuple of positional inputs, or a mapping of named ones.

        Raises:
            ConfigError: inputs that the model's forward does not take. ShapeError: no inputs.
        """
        named = {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
        placed = () if isinstance(given, Mapping) else given if isinstance(given, tuple) else (given,)
        if not placed and not named:
            raise ShapeError("freeze", expected="an example of at least one input", got="none")
        try:
            bound = inspect.signature(model.forward).bind(*placed, **named)
        except TypeError as error:
            raise ConfigError(
                "freeze",
                expected=f"an example with the inputs of {type(model).__name__}.forward",
                got=str(error),
                hint="give a tensor, a tuple of inputs in order, or a dict of named ones",
            ) from None
        names: list[str] = []
        values: list[Any] = []

        def slot(name: str, value: Any) -> Slot | None:
            if value is None:
                return None
            names.append(name)
            values.append(value)
            return Slot(len(names) - 1)

        for name, value in list(bound.arguments.items()):
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                each = tuple(slot(f"{name}_{number}", one) for number, one in enumerate(value))
                bound.arguments[name] = each
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: slot(key, one) for key, one in value.items()}
            else:
                bound.arguments[name] = slot(name, value)
        return cls(tuple(names), tuple(values), bound.args, bound.kwargs)

    def call(self, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Call a function as the model was called, with copies of other values: a model may write into its inputs."""
        return TracedCall(function, self.args, self.kwargs)(*(_fresh(value) for value in values))


def _fresh(value: Any) -> Any:
    """A value with copies of its tensors, through dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) is dict:
        return {key: _fresh(each) for key, each in value.items()}
    return type(value)(map(_fresh, value)) if type(value) in (list, tuple) else value
