"""A layout: when it holds a layer exactly, how the layer is held, and how tensors of a file are checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gossamer.errors import FormatError
from gossamer.layouts.pickled import as_bytes, restored
from gossamer.layouts.values import EXACT, widened
from gossamer.registry import Registry

if TYPE_CHECKING:
    from gossamer.layouts.connections import Connections

Parameters = dict[str, int]  # the integers of a layout beyond the shape, e.g. {"n": 1, "m": 8}
Spec = dict[str, tuple[torch.dtype, tuple[int, ...]]]  # tensor name -> dtype, shape (-1: any length)

layouts: Registry[Layout] = Registry("layout")


@dataclass(frozen=True)
class Encoded:
    """A layer's weight in one layout; the bias is not part of it.

    Args:
        layout: str.
        shape: (int, int) - out_features, in_features.
        parameters: the layout's own integers.
        values: [stored], float, or int8.
        index: name -> integer tensor, in the order the kernels take them.
        scale: [out_features], float32, with int8 values: what multiplies those of each neuron; else None.
        reads: dtype of inputs, bias and outputs where values are narrower; None: that of the values.
    """

    layout: str
    shape: tuple[int, int]
    parameters: Parameters
    values: Tensor
    index: dict[str, Tensor]
    scale: Tensor | None = None
    reads: torch.dtype | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tensors as bytes."""
        index = {name: as_bytes(tensor) for name, tensor in self.index.items()}
        return {
            **self.__dict__,
            "values": as_bytes(self.values),
            "scale": as_bytes(self.scale),
            "index": index,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse."""
        index = {name: restored(held) for name, held in state["index"].items()}
        values, scale = restored(state["values"]), restored(state["scale"])
        self.__dict__.update(state, values=values, scale=scale, index=index)

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs, bias and outputs."""
        return self.reads or self.values.dtype

    @property
    def bytes(self) -> int:
        """Values, their scales, and indices."""
        held = [self.values, *self.index.values(), *([] if self.scale is None else [self.scale])]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    @property
    def wide(self) -> Encoded:
        """Itself, or a dense form with the numbers that its narrow values stand for; made anew at every call."""
        if self.reads is None:
            return self
        rows = self.index.get("rows", torch.arange(self.shape[0])).to(torch.int64)
        matrix = self.values.view(rows.numel(), -1) if rows.numel() else self.values
        values = widened(matrix, rows, None if self.scale is None else self.scale.unsqueeze(1), self.reads)
        return replace(self, values=values.view(-1), scale=None, reads=None)

    @property
    def wide_bytes(self) -> int:
        """Bytes of ``wide``."""
        index = sum(tensor.numel() * tensor.element_size() for tensor in self.index.values())
        return self.values.numel() * self.dtype.itemsize + index

    @property
    def dims(self) -> list[int]:
        """The integers the kernels take: the shape, then the layout's own."""
        return [*self.shape, *self.parameters.values()]


class Layout(ABC):
    """Base of all layouts; instances hold nothing.

    ``kernel`` says whether the core runs it, ``explicit`` whether every stored number is a connection (dense
    forms hold zeros that are none), ``activations`` how inputs are read, ``parameters`` names its integers.
    ``from_batch`` and ``up_to_batch`` (None: no end) say at which batch sizes it is worth measuring: those at which
    it has been seen to win.
    """

    name: ClassVar[str]
    kernel: ClassVar[bool] = True
    explicit: ClassVar[bool] = True
    activations: ClassVar[str] = EXACT
    parameters: ClassVar[tuple[str, ...]] = ()
    from_batch: ClassVar[int] = 1
    up_to_batch: ClassVar[int | None] = None

    @abstractmethod
    def fit(self, connections: Connections) -> Parameters | str:
        """The parameters under which the layout holds this layer exactly, or the reason why it cannot."""

    @abstractmethod
    def arrange(self, connections: Connections, parameters: Parameters) -> Encoded:
        """Values and index in this layout's order; values are of any type, and zeros may be added to them."""

    @abstractmethod
    def restore(self, encoded: Encoded) -> Connections:
        """The inverse of ``arrange``, after checking the index in full; raises a GossamerError."""

    @abstractmethod
    def spec(self, shape: tuple[int, int], parameters: Parameters) -> Spec:
        """Expected dtype and shape of each index tensor, in the kernels' order."""

    def unpromising(self, batch: int) -> str:
        """Why it is not worth measuring at a batch size, or ""."""
        if batch < self.from_batch:
            return f"worth measuring from batch {self.from_batch}"
        if self.up_to_batch is not None and batch > self.up_to_batch:
            return f"worth measuring up to batch {self.up_to_batch}"
        return ""

    def encode(self, connections: Connections, parameters: Parameters) -> Encoded:
        """The layer in this layout; ``parameters`` from ``fit``."""
        encoded = self.arrange(connections, parameters)
        return replace(encoded, scale=connections.scale, reads=connections.reads)

    def decode(self, encoded: Encoded) -> Connections:
        """The connections of an encoded layer, after checking the index in full; raises a GossamerError."""
        return replace(self.restore(encoded), scale=encoded.scale, reads=encoded.reads)

    def check(self, encoded: Encoded) -> Connections:
        """Check an encoded layer of unknown origin: dtypes, shapes, then every index.

        Args:
            encoded: Encoded.

        Returns:
            Connections.

        Raises:
            FormatError, TopologyError, PatternError, ConfigError.

        Cost: O(stored).
        """
        spec = self.spec(encoded.shape, encoded.parameters)
        if list(spec) != list(encoded.index):
            raise FormatError(
                f"layout {self.name}", expected=f"tensors {list(spec)}", got=str(list(encoded.index))
            )
        for name, (dtype, shape) in spec.items():
            tensor = encoded.index[name]
            fits = len(shape) == tensor.dim() and all(
                w in (-1, g) for w, g in zip(shape, tensor.shape, strict=True)
            )
            if tensor.dtype != dtype or not fits:
                raise FormatError(
                    f"layout {self.name}",
                    expected=f"{name} of {dtype} and shape {list(shape)}",
                    got=f"{tensor.dtype} and {list(tensor.shape)}",
                )
        if encoded.values.dim() != 1:
            raise FormatError(
                f"layout {self.name}", expected="flat values", got=f"{list(encoded.values.shape)}"
            )
        return self.decode(encoded)

    def expect(self, encoded: Encoded, stored: int) -> None:
        """Refuse values of another number than the index says."""
        if encoded.values.numel() != stored:
            raise FormatError(
                f"layout {self.name}", expected=f"{stored} values", got=str(encoded.values.numel())
            )


def layout(name: str) -> Layout:
    """The layout of a name; raises ConfigError where there is none."""
    return layouts[name]()
