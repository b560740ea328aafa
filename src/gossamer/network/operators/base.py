"""An operator: its settings, its tensors, the modules and calls it is recognised in, and what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gossamer.errors import ConfigError, FormatError

LARGEST_SIZE = 1 << 24  # features of a layer, channels of a convolution
LARGEST_STEP = 1 << 10  # kernel sizes, strides, paddings: a damaged file must not ask for unbounded memory

Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Step = Annotated[int, Field(ge=1, le=LARGEST_STEP)]
Border = Annotated[int, Field(ge=0, le=LARGEST_STEP)]
LARGEST_NUMBER = 3.0e38  # of float32, about: torch takes no other slope for it
Number = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Axis = Annotated[int, Field(ge=-8, le=8)]


class Settings(BaseModel):
    """An operator's numbers, as they stand in the file; the base class has none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Tensors = Mapping[str, Tensor]
Read = tuple[Settings, dict[str, Tensor]]


class Unsupported(Exception):
    """A module or call of an operator's kind with settings that the operator does not have."""


@dataclass(frozen=True)
class Operator:
    """One entry of the list of operators that an artifact may hold.

    Args:
        name: str - as written in files.
        compute: (inputs, settings, tensors) -> Tensor.
        settings: type[Settings].
        modules: module class -> how to read its settings and tensors; exact classes only.
        calls: function, or name of a tensor method -> how to read settings from the other arguments.
        shapes: settings -> name and shape of each tensor (-1: any length).
        arity: int - number of tensor inputs.
        elementwise: bool - acts on every number alike, so a constant stays a constant; takes no tensors.
    """

    name: str
    compute: Callable[[tuple[Tensor, ...], Any, Tensors], Tensor]
    settings: type[Settings] = Settings
    modules: Mapping[type[nn.Module], Callable[[Any], Read]] = field(default_factory=dict)
    calls: Mapping[Any, Callable[..., Settings]] = field(default_factory=dict)
    shapes: Callable[[Any], dict[str, tuple[int, ...]]] = lambda _settings: {}
    arity: int = 1
    elementwise: bool = False

    def check(self, settings: Any, tensors: Tensors) -> None:
        """Refuse tensors of a stranger that do not fit the settings; raises FormatError."""
        expected = self.shapes(settings)
        if missing := set(expected) ^ set(tensors):
            raise FormatError(
                f"operator {self.name}",
                expected=f"tensors {sorted(expected)}",
                got=f"a mismatch in {sorted(missing)}",
            )
        for name, shape in expected.items():
            tensor = tensors[name]
            if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                raise FormatError(
                    f"operator {self.name}",
                    expected=f"{name} of a floating type and shape {list(shape)}",
                    got=f"{tensor.dtype} and {list(tensor.shape)}",
                )


_OPERATORS: dict[str, Operator] = {}
operators: Mapping[str, Operator] = MappingProxyType(_OPERATORS)


def operator(entry: Operator) -> Operator:
    """Add an entry; a second one of the same name is an error.

    Example:
        >>> operator(operators["relu"])
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: register operator: expected a new name, got 'relu'
    """
    if entry.name in _OPERATORS:
        raise ConfigError("register operator", expected="a new name", got=repr(entry.name))
    _OPERATORS[entry.name] = entry
    return entry
