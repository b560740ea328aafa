"""A layout: when it holds a layer exactly, how the layer is held, and how arrays of a file are checked."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from gossamer.errors import ConfigError, FormatError, KernelUnavailable
from gossamer.layouts.arrays import Array, aligned, dtype_of, name_of
from gossamer.layouts.bits import fewest, packed_bytes
from gossamer.layouts.connections import Connections
from gossamer.layouts.grid import Grid
from gossamer.layouts.kernel_side import KernelSide, Parameters, Shape, fitting
from gossamer.layouts.values import FLOAT32, ROUNDED, rounded, widened
from gossamer.registry import Registry

Index = dict[str, Array]  # narrow integers, one entry per name

layouts: Registry[type[Layout]] = Registry("layout")


@dataclass(frozen=True)
class Encoded:
    """A layer's weight in one layout; the bias is not part of it.

    Args:
        layout: str.
        shape: (int, int) - out_features, in_features.
        parameters: the layout's own integers.
        values: [stored], float, or int8.
        index: name -> array of integers, in the order the kernels take them.
        scale: [out_features], float32, with int8 values: what multiplies those of each neuron; else None.
        reads: str or None - type of inputs, bias and outputs where values are narrower; None: that of the values.
    """

    layout: str
    shape: Shape
    parameters: Parameters
    values: Array
    index: Index
    scale: Array | None = None
    reads: str | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies begin where kernels like it, too."""
        index = {name: aligned(array) for name, array in state["index"].items()}
        self.__dict__.update(state, values=aligned(state["values"]), index=index)

    @property
    def dtype(self) -> str:
        """Of inputs, bias and outputs."""
        return self.reads or name_of(self.values)

    @property
    def bytes(self) -> int:
        """In memory: values, their scales, and indices."""
        scales = 0 if self.scale is None else self.scale.nbytes
        return self.values.nbytes + scales + sum(array.nbytes for array in self.index.values())

    @property
    def value_bytes(self) -> int:
        """In a file: values in as few bits as they need, and their scales; O(stored)."""
        bits = fewest(self.values)
        held = self.values.nbytes if bits == 8 else packed_bytes(self.values.size, bits)
        return held + (0 if self.scale is None else self.scale.nbytes)

    @property
    def file_bytes(self) -> int:
        """In a file: values, their scales, and indices; O(stored)."""
        return self.value_bytes + sum(array.nbytes for array in self.index.values())

    @property
    def wide(self) -> Encoded:
        """Itself, or a dense form with the numbers that its narrow values stand for; made anew at every call."""
        if self.reads is None:
            return self
        rows = self.index.get("rows", np.arange(self.shape[0])).astype(np.int64)
        matrix = self.values.reshape(rows.size, -1) if rows.size else self.values
        values = widened(matrix, rows, None if self.scale is None else self.scale[:, None], self.reads)
        return replace(self, values=aligned(values.reshape(-1)), scale=None, reads=None)

    @property
    def wide_bytes(self) -> int:
        """Bytes of ``wide``."""
        index = sum(array.nbytes for array in self.index.values())
        return self.values.size * dtype_of(self.dtype).itemsize + index

    @property
    def dims(self) -> list[int]:
        """The integers the kernels take: the shape, then the layout's own."""
        return [*self.shape, *self.parameters.values()]


class Layout(KernelSide):
    """Base of all layouts; instances hold nothing.

    ``kernel`` says whether there are kernels for it, ``convolves`` whether for convolutions, too, ``explicit`` whether
    every stored number is a connection (dense forms hold zeros that are none), ``compute`` the arithmetic
    of its kernels: "float32" stands for that of the network, others run only where ``freeze(compute=)`` names them.
    ``parameters`` names its integers. ``from_batch`` and ``up_to_batch`` (None: no end) say at which batch sizes it is
    worth measuring: those at which it has been seen to win; ``densest`` up to which density.
    """

    kernel: ClassVar[bool] = True
    convolves: ClassVar[bool] = False
    explicit: ClassVar[bool] = True
    compute: ClassVar[str] = FLOAT32
    from_batch: ClassVar[int] = 1
    up_to_batch: ClassVar[int | None] = None
    densest: ClassVar[float] = 0.5

    # --- what a layout says of itself ------------------------------------------------------------------------------
    @abstractmethod
    def fit(self, connections: Connections) -> Parameters | str:
        """The parameters under which the layout holds this layer exactly, or the reason why it cannot."""

    @abstractmethod
    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """Values and index in this layout's order; values are of any type, and zeros may be added to them."""

    @abstractmethod
    def restore(self, encoded: Encoded) -> Connections:
        """The inverse of ``arrange``, after checking the index in full; raises a GossamerError."""

    def index(self, units: Array, shape: Shape, parameters: Parameters) -> Index:
        """Narrow integers of ascending positions of units: what a pattern that is trained in this layout keeps.

        Raises:
            TopologyError: units that the layout cannot hold. KernelUnavailable: nothing is trained in it.
        """
        raise KernelUnavailable("index", expected="a layout to train in", got=self.name)

    def units(self, index: Index, shape: Shape, parameters: Parameters) -> Array:
        """[units], int64: the inverse, after checking shapes and ranges, and not the order; raises TopologyError."""
        raise KernelUnavailable("units", expected="a layout to train in", got=self.name)

    def whole(self, parameters: Parameters) -> Shape:
        """Neurons and inputs that a layer can lose only together, or it is no longer held."""
        return self.unit(parameters)

    # --- what every layout gets ------------------------------------------------------------------------------------
    @property
    def exact(self) -> bool:
        """Whether a file may hold its form, which has the values to the bit; others are made from such a form."""
        return self.compute not in ROUNDED

    def grid(self, shape: Shape, parameters: Parameters) -> Grid:
        """The layer in units of the index; raises ConfigError where the integers do not fit it."""
        if expected := self.wants(shape, parameters):
            raise ConfigError(
                f"layout {self.name}", expected=expected, got=f"{parameters} with {shape[0]} x {shape[1]}"
            )
        h, w = self.unit(parameters)
        return Grid(shape[0] // h, shape[1] // w, h, w)

    def unpromising(self, batch: int) -> str:
        """Why it is not worth measuring at a batch size, or ""."""
        if batch < self.from_batch:
            return f"worth measuring from batch {self.from_batch}"
        if self.up_to_batch is not None and batch > self.up_to_batch:
            return f"worth measuring up to batch {self.up_to_batch}"
        return ""

    def runs(self, connections: Connections) -> Parameters | str:
        """As ``fit``, and whether its arithmetic is for such a layer: others than the network's own read float32."""
        if FLOAT32 not in (self.compute, connections.dtype):
            return f"it reads {FLOAT32}, and the layer {connections.dtype}"
        return self.fit(connections)

    def encode(self, connections: Connections, parameters: Parameters) -> Encoded:
        """The layer in this layout, in memory as kernels like it; ``parameters`` from ``runs``.

        Where its arithmetic has fewer bits than float32, ``arrange`` gets weights that are rounded to it.
        """
        connections = rounded(connections, self.compute) if self.compute in ROUNDED else connections
        made = self.arrange(connections, parameters)
        index = {name: aligned(array) for name, array in made.index.items()}
        return replace(
            made,
            values=aligned(made.values),
            index=index,
            scale=connections.scale,
            reads=connections.reads,
        )

    def decode(self, encoded: Encoded) -> Connections:
        """The connections of an encoded layer, after checking the index in full; raises a GossamerError."""
        return replace(self.restore(encoded), scale=encoded.scale, reads=encoded.reads)

    def check(self, encoded: Encoded) -> Connections:
        """Check an encoded layer of unknown origin: types, shapes, then every index.

        Args:
            encoded: Encoded.

        Returns:
            Connections.

        Raises:
            FormatError, TopologyError, ConfigError.

        Cost: O(stored).
        """
        spec = self.spec(encoded.shape, encoded.parameters)
        if list(spec) != list(encoded.index):
            raise FormatError(
                f"layout {self.name}", expected=f"tensors {list(spec)}", got=str(list(encoded.index))
            )
        for name, (dtype, shape) in spec.items():
            array = encoded.index[name]
            if name_of(array) != dtype or not fitting(array.shape, shape):
                raise FormatError(
                    f"layout {self.name}",
                    expected=f"{name} of {dtype} and shape {list(shape)}",
                    got=f"{name_of(array)} and {list(array.shape)}",
                )
        if encoded.values.ndim != 1:
            raise FormatError(
                f"layout {self.name}", expected="flat values", got=f"{list(encoded.values.shape)}"
            )
        return self.decode(encoded)

    def expect(self, encoded: Encoded, stored: int) -> None:
        """Refuse values of another number than the index says."""
        if encoded.values.size != stored:
            raise FormatError(
                f"layout {self.name}", expected=f"{stored} values", got=str(encoded.values.size)
            )


def layout(name: str) -> Layout:
    """The layout of a name.

    Args:
        name: str - as in artifacts and plans.
    Raises:
        ConfigError: there is none.
    Cost: O(1).
    """
    return layouts[name]()
