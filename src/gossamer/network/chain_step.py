"""Linear layers that follow each other, in one call into the core, on tensors and on arrays alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gossamer.errors import DtypeError
from gossamer.kernels.cpu import Chain
from gossamer.kernels.dispatch import forced_set
from gossamer.layouts import Encoded, layout
from gossamer.layouts.arrays import Array

Step = Callable[..., Any]


class Operands(NamedTuple):
    """One linear layer as it runs: what it holds, and what follows its sums."""

    form: Encoded
    bias: Array | None = None
    activation: str | None = None
    slope: float = 0.0


def in_core(form: Encoded) -> bool:
    """Whether the core has a kernel for a form and the type that it reads."""
    name = "dense" if form.layout == "slice" else form.layout  # which is gathered first
    return form.dtype == "float32" or (form.dtype == "float64" and form.dtype in layout(name).values)


def within(operands: Operands) -> Operands:
    """The product inside of a slice: a dense layer of the rows and columns in use, with wide values."""
    form, rows = operands.form.wide, operands.form.index["rows"]
    shape = (rows.size, operands.form.index["cols"].size)
    bias = None if operands.bias is None else np.ascontiguousarray(operands.bias[rows])
    return Operands(Encoded("dense", shape, {}, form.values, {}), bias)


class ChainStep(ABC):
    """Layers in one call into the core; what they are called with, a tensor or an array, comes back.

    Args:
        layers: list of Operands, each reading what the one before computes; a residual is added to the last.
        rows: bool - give each sample's outputs side by side, as operators want them; else feature by feature;
            None: side by side where x has more than two dimensions.
        adds: bool - a residual comes with every call.
        flat: bool - takes x [batch, n_in] only.

    Raises:
        TopologyError, ShapeError: an index or sizes that do not fit. KernelUnavailable: no compiled core.
        DtypeError: a type that the core does not compute with.
    """

    def __init__(
        self, layers: list[Operands], *, rows: bool | None = False, adds: bool = False, flat: bool = False
    ) -> None:
        self.flat, self.rows, self.adds, self.last = flat, rows, bool(rows) and adds, layers[-1]
        if (
            self.adds
        ):  # one pass writes the sum as rows; else it and the residual are each turned around by one
            layers = [*layers[:-1], self.last._replace(activation=None)]
        self.layers = layers
        self.n_in, self.n_out = layers[0].form.shape[1], layers[-1].form.shape[0]
        self.chain, self.forced = self.made(), dict[str, Callable[[Any, Any], Any]]()

    @abstractmethod
    def check(self, x: Any, n_in: int, *, flat: bool = False) -> None:
        """Refuse an input that a layer cannot take."""

    @abstractmethod
    def activated(self, y: Any) -> Any:
        """What follows the sums of the last layer, written over them."""

    @abstractmethod
    def contiguous(self, y: Any) -> Any:
        """The same numbers, each sample's side by side."""

    def chosen(self) -> Callable[[Any, Any], Any]:
        """The call into the core, of the instruction set that is forced, if any."""
        isa = forced_set()
        if isa is None:
            return self.chain
        if isa not in self.forced:
            self.forced[isa] = self.made(isa)
        return self.forced[isa]

    def made(self, isa: str | None = None) -> Callable[[Any, Any], Any]:
        """The call into the core."""
        if not all(in_core(each.form) for each in self.layers):
            got = ", ".join(sorted({f"{each.form.layout} of {each.form.dtype}" for each in self.layers}))
            expected = "layers of float32, or of float64 in layouts that take it"
            raise DtypeError("ChainStep", expected=expected, got=got)
        return Chain(
            [
                {
                    "layout": form.layout,
                    "shape": form.dims,
                    "values": form.values,
                    "index": list(form.index.values()),
                    "bias": bias,
                    "activation": activation,
                    "slope": slope,
                    "scale": form.scale,
                }
                for form, bias, activation, slope in self.layers
            ],
            isa=isa,
        )

    def __call__(self, x: Any, residual: Any = None) -> Any:
        """[..., n_in], and for a residual [..., n_out], to [..., n_out]."""
        if x.ndim == 2:
            y = self.chosen()(x, None if self.adds else residual)
            return self.ordered(y, residual) if self.rows else y
        return self.as_rows(self.__call__, x, residual)

    def ordered(self, y: Any, residual: Any) -> Any:
        """The result of the core in the order in which it is read, with the residual that it was not given."""
        if self.adds and residual is not None:
            y = self.activated(residual + y)
        return self.contiguous(y) if self.rows else y

    def as_rows(self, run: Step, x: Any, residual: Any) -> Any:
        """Leading dimensions as one."""
        self.check(x, self.n_in, flat=self.flat)
        if residual is not None:
            self.check(residual, self.n_out)
        flat = None if residual is None else residual.reshape(-1, self.n_out)
        y = run(x.reshape(-1, self.n_in), flat)
        return (self.contiguous(y) if self.rows is None else y).reshape(*x.shape[:-1], self.n_out)
