"""An operator: its settings and tensors, what it computes on tensors and on arrays, and how torch spells it.

Nothing here imports torch: modules and functions are named, and torch itself is handed to what computes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gossamer.errors import FormatError, KernelUnavailable
from gossamer.kernels.cpu import numbers
from gossamer.layouts.arrays import name_of
from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.spelling import Spelling
from gossamer.registry import Registry

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


Tensors = Mapping[str, Any]  # name -> tensor of torch, or array
Inputs = tuple[Any, ...]
Shape = tuple[int, ...]
Read = tuple[Settings, dict[str, Any]]
FLOATS = ("float32", "float64", "bfloat16", "float16")


class Unsupported(Exception):
    """A module or call of an operator's kind with settings that the operator does not have."""


def plain(inplace: bool = False) -> Settings:  # noqa: ARG001 (a frozen network never writes over its inputs)
    """The settings of a call that has none."""
    return Settings()


def unset(_module: Any) -> Read:
    """The settings and tensors of a module that has none."""
    return Settings(), {}


def alike(shapes: tuple[Shape, ...], _settings: Any) -> Shape:
    """The shape of what has that of its input."""
    return shapes[0]


def floating(dtypes: tuple[str, ...]) -> str:
    """The dtype of what computes with floating numbers alone; raises ValueError.

    Example:
        >>> floating(("float32",))
        'float32'
    """
    if dtypes[0] not in FLOATS:
        raise ValueError(f"an input of {dtypes[0]}, which is no floating type")
    return dtypes[0]


@dataclass(frozen=True)
class Operator:
    """One entry of the list of operators that an artifact may hold.

    Args:
        name: str - as written in files.
        tensors: (torch, inputs, settings, tensors) -> Tensor. It holds tensors there, or arrays where it has ``step``.
        arrays: (inputs, settings, tensors) -> array, or None where only torch computes it.
        ulps: int - how far NumPy or the core may differ from torch, in units of the last place of the largest
            number among input and result; 0: they have the same bits.
        exact: types of which they have the same bits all the same.
        settings: type[Settings].
        modules: name of a module class, as in ``"torch.nn.ReLU"`` -> how to read its settings and tensors; exact
            classes only.
        calls: name of a function, as in ``"torch.relu"``, or of a tensor method, as in ``".relu"`` -> how to read
            settings from the other arguments.
        shapes: settings -> name and shape of each tensor.
        shape: (shapes of the inputs, settings) -> that of the result; raises ValueError where they do not fit.
        dtype: dtypes of the inputs -> that of the result, likewise.
        parts: name of a function or method that gives several values -> how to read the settings of one of them from
            its number and the other arguments.
        lower: (Lowering, Images of the inputs, settings, tensors) -> Image: the steps of the core that compute it of
            images; raises NotLowered where it has none for these. None: those of its activation, if it is one.
        onnx: (Spelling, names of the inputs, settings, tensors) -> the name of the result: the nodes of ONNX that
            compute it; raises NotSpelled where there are none for these. None: it cannot be exported.
        arity: int - number of inputs; None: one or more, which torch takes as one list.
        elementwise: bool - acts on every number alike, so a constant stays a constant; takes no tensors.
        channels: settings -> how channels of [batch, channels, height, width], or features of [batch, features], pass,
            each by itself: "computed" number by number, with a number of each tensor for each channel; "kept" where a
            constant channel is the same constant behind it; "zero" where only zeros stay. Of several values: "together"
            number by number, "joined" side by side along a ``dim``. Other ways go by the settings: "flat", "reshaped",
            "averaged", "sliced", "parts", "padded", "along", "permuted"; see ``trace.passing``. "" where channels mix.
        resized: (settings, channels) -> the settings for another number of channels.
        activations: name of an activation in the core -> (slope -> the settings that it stands for). Layers have it
            behind their sums; the core computes it, of arrays and of tensors.
        slope: str - the setting that is its slope there, if any.
        core: settings -> what computes it in the core, of a tensor or an array, where that is no activation.
        verify: (settings, tensors) -> None - the check of a stranger's tensors, where their names, shapes and floating
            types do not say all; raises FormatError.
        typed: settings -> names of the tensors that have the type of the input; None: all.
        step: (settings, tensors) -> what computes it of tensors and arrays alike, made once for many calls; it may have
            a method ``advance``, which goes on from a state.
        narrow: (settings, tensors, type of values) -> settings and tensors of fewer bits; None: it has no weights.
        times: (shapes, settings, axis of time in each) -> that of the result; None: they mix, or may. See ``LAST``.
    """

    name: str
    tensors: Callable[[Any, Inputs, Any, Tensors], Any]
    arrays: Callable[[Inputs, Any, Tensors], Any] | None = None
    ulps: int = 0
    exact: tuple[str, ...] = ()
    settings: type[Settings] = Settings
    modules: Mapping[str, Callable[[Any], Read]] = field(default_factory=dict)
    calls: Mapping[str, Callable[..., Settings]] = field(default_factory=dict)
    shapes: Callable[[Any], dict[str, Shape]] = lambda _settings: {}
    shape: Callable[[tuple[Shape, ...], Any], Shape] = alike
    dtype: Callable[[tuple[str, ...]], str] = floating
    parts: Mapping[str, Callable[..., Settings]] = field(default_factory=dict)
    lower: Callable[[Lowering, tuple[Image, ...], Any, Tensors], Image] | None = None
    onnx: Callable[[Spelling, tuple[str, ...], Any, Tensors], str] | None = None
    arity: int | None = 1
    elementwise: bool = False
    channels: Callable[[Any], str] = lambda _settings: ""
    resized: Callable[[Any, int], Any] = lambda settings, _channels: settings
    activations: Mapping[str, Callable[[float], Settings]] = field(default_factory=dict)
    slope: str = ""
    core: Callable[[Any], Callable[[Any], Any]] | None = None
    verify: Callable[[Any, Tensors], None] | None = None
    typed: Callable[[Any], tuple[str, ...]] | None = None
    step: Callable[[Any, Tensors], Callable[..., Any]] | None = None
    narrow: Callable[[Any, Tensors, str], tuple[Any, dict[str, Any]]] | None = None
    times: Callable[..., int | None] = lambda *_: None

    def activation(self, settings: Any) -> tuple[str, float] | None:
        """Its name and slope in the core; None for what is no activation there.

        Example:
            >>> entry = operators["leaky_relu"]
            >>> entry.activation(entry.settings(negative_slope=0.5)), operators["add"].activation(Settings())
            (('leaky_relu', 0.5), None)
        """
        slope = float(getattr(settings, self.slope, 0.0))
        return next(
            ((name, slope) for name, made in self.activations.items() if made(slope) == settings), None
        )

    def by_core(self, settings: Any) -> Callable[[Any], Any] | None:
        """What computes it in the core, of a tensor or an array of float32 or float64; None: nothing does."""
        if (found := self.activation(settings)) is not None:
            return partial(numbers.activate, activation=found[0], slope=found[1])
        return None if self.core is None else self.core(settings)

    def compute(self, inputs: Inputs, settings: Any, tensors: Tensors) -> Any:
        """What it is, of tensors or of arrays."""
        if isinstance(inputs[0], np.ndarray):
            return self.on_arrays(settings, tensors)(*inputs)
        import torch

        return self.tensors(torch, inputs, settings, tensors)

    def on_arrays(self, settings: Any, tensors: Tensors) -> Callable[..., Any]:
        """What computes it on arrays: the core, else NumPy; raises KernelUnavailable where only torch does."""
        by_core, arrays = self.by_core(settings), self.arrays
        if self.step is not None:
            return self.step(settings, tensors)
        if by_core is not None:
            return by_core
        if arrays is None:
            raise KernelUnavailable(self.name, expected="tensors of torch", got="arrays of NumPy")
        return lambda *xs: arrays(xs, settings, tensors)

    @property
    def in_core(self) -> bool:
        """Whether the core computes it."""
        return bool(self.activations) or self.core is not None

    @property
    def lowers(self) -> bool:
        """Whether the core may have steps for it over planes of images."""
        return self.lower is not None or bool(self.activations)

    def lowered(
        self, lowering: Lowering, images: tuple[Image, ...], settings: Any, tensors: Tensors
    ) -> Image:
        """Its steps over planes; raises NotLowered where the core has none."""
        if self.lower is not None:
            return self.lower(lowering, images, settings, tensors)
        if (found := self.activation(settings)) is None:
            raise NotLowered(self.name)
        return lowering.number_by_number(images[0], activation=found[0], slope=found[1])

    def same_bits(self, dtype: str) -> bool:
        """Whether arrays of a type give what a Frozen gives of tensors of it, to the bit."""
        return (self.in_core and dtype in numbers.DTYPES) or (
            self.arrays is not None and (not self.ulps or dtype in self.exact)
        )

    def check(self, settings: Any, tensors: Tensors) -> None:
        """Refuse tensors of a stranger that do not fit the settings; raises FormatError."""
        if self.verify is not None:
            return self.verify(settings, tensors)
        expected = self.shapes(settings)
        if missing := set(expected) ^ set(tensors):
            raise FormatError(
                f"operator {self.name}",
                expected=f"tensors {sorted(expected)}",
                got=f"a mismatch in {sorted(missing)}",
            )
        for name, shape in expected.items():
            tensor = tensors[name]
            if tuple(tensor.shape) != shape or name_of(tensor) not in FLOATS:
                raise FormatError(
                    f"operator {self.name}",
                    expected=f"{name} of a floating type and shape {list(shape)}",
                    got=f"{name_of(tensor)} and {list(tensor.shape)}",
                )
        return None


operators: Registry[Operator] = Registry("operator")


def operator(entry: Operator) -> Operator:
    """Add an entry; a second one of the same name is an error.

    Example:
        >>> operator(operators["relu"])
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: register operator: expected a name that is not taken, got 'relu'; ...
    """
    operators.add(entry.name, entry)
    return entry
