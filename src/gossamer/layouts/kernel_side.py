"""What kernels must know of a layout: its operands, its coordinates, its struct in C, and what its products cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import numpy as np

from gossamer.errors import KernelUnavailable
from gossamer.layouts.arrays import Array

Shape = tuple[int, int]  # (out_features, in_features)
Parameters = dict[str, int]  # the integers of a layout beyond the shape, e.g. {"n": 1, "m": 8}
Spec = dict[str, tuple[str, tuple[int, ...]]]  # array name -> type, shape (-1: any length)
Dims = Sequence[int]  # the integers kernels take: the shape, then the layout's own
Numbers = Sequence[Any]  # index arrays or tensors, in the kernels' order
Fields = tuple[int, ...]
Address = Callable[[Any], int]

POINTERS: Final = ("int32", "int64")
COLUMNS: Final = ("uint16", "int32")
OFFSETS: Final = ("uint8",)


class Rates(NamedTuple):
    """Nanoseconds of a connection, one thread, at the batches of ``kernels.cost``: by benchmarks/dense_crossover.py.

    Args:
        name: str - of the layout, and of what tells those of one layout apart.
        linear, linear_grad_input, linear_grad_values: of each product.
        move: into a dense weight, and out of its gradient.
    """

    name: str
    linear: Sequence[float]
    linear_grad_input: Sequence[float]
    linear_grad_values: Sequence[float]
    move: tuple[float, float]


class Makes(Protocol):
    """What coordinates are made with, so that one definition serves arrays, and tensors on any device."""

    def arange(self, end: int) -> Any:
        """``0 .. end - 1``, int64."""

    def repeat(self, numbers: Any, counts: Any) -> Any:
        """Each number as often as it is counted."""

    def wide(self, numbers: Any) -> Any:
        """As int64."""

    def spread(self, numbers: Any, shape: Sequence[int]) -> Any:
        """Repeated along dimensions of length 1."""


class _NumPy:
    def arange(self, end: int) -> Array:
        return np.arange(end)

    def repeat(self, numbers: Array, counts: Array) -> Array:
        return np.repeat(numbers, counts)

    def wide(self, numbers: Array) -> Array:
        return numbers.astype(np.int64)

    def spread(self, numbers: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(numbers, shape)


ARRAYS: Final = _NumPy()


class KernelSide(ABC):
    """The half of a layout that kernels read.

    ``number`` is its gs_layout in C (None: the compiled core does not know it, reference kernels run), ``trains``
    whether it has gradients, ``values`` the types its compiled kernels take, ``accepts`` the types of each index
    array, ``lanes`` to a multiple of how many neurons it is filled up, ``rates`` what was measured.
    """

    name: ClassVar[str]
    number: ClassVar[int | None] = None
    trains: ClassVar[bool] = False
    values: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "int8")
    parameters: ClassVar[tuple[str, ...]] = ()
    accepts: ClassVar[dict[str, tuple[str, ...]]] = {}
    lanes: ClassVar[int] = 1
    rates: ClassVar[tuple[Rates, ...]] = ()

    # --- what a layout says of itself ------------------------------------------------------------------------------
    @abstractmethod
    def spec(self, shape: Shape, parameters: Parameters) -> Spec:
        """Type and shape of each index array as this library makes it, in the kernels' order."""

    def wants(self, shape: Shape, parameters: Parameters) -> str:
        """What the integers would have to be, or "" where they are it."""
        return ""

    def unit(self, parameters: Parameters) -> Shape:
        """Neurons and inputs of what one entry of the index stands for."""
        return (1, 1)

    def coordinates(self, index: Numbers, shape: Dims, make: Makes) -> tuple[Any, Any]:
        """Row and column of every stored value, in storage order: the definition of the layout.

        Args:
            index: the layout's arrays, or tensors.
            shape: the layout's integers.
            make: what coordinates are made with.

        Returns:
            (row, column), int64 [used] each; padding lies past n_out and n_in.
        """
        raise KernelUnavailable("kernels", expected="a layout with kernels", got=self.name)

    def fields(self, dtype: int, values: Any, index: Numbers, shape: Dims, at: Address) -> Fields:
        """``gs_matrix`` up to its addresses; see csrc/include/gossamer.h."""
        raise KernelUnavailable("kernels.cpu", expected="a layout of the compiled core", got=self.name)

    # --- what follows, where a layout does not say otherwise -------------------------------------------------------
    def integers(self, shape: Dims) -> tuple[Shape, Parameters]:
        """The shape, and the layout's own integers by name."""
        return (shape[0], shape[1]), dict(zip(self.parameters, shape[2:], strict=True))

    def misfit(self, index: Numbers, shape: Dims) -> str:
        """What the integers, or the shapes of the index, would have to be, or "" where they are it."""
        own = self.integers(shape)
        if expected := self.wants(*own):
            return expected
        spec = self.spec(*own)
        for array, (_, sizes) in zip(index, spec.values(), strict=True):
            if not fitting(array.shape, sizes):
                return " and ".join(f"{name} {_said(wanted)}" for name, (_, wanted) in spec.items())
        return ""

    def used(self, sizes: Sequence[Sequence[int]], shape: Dims) -> int:
        """Values that an index of these sizes has places for: the last array has an entry for each unit."""
        return prod(sizes[-1]) * prod(self.unit(self.integers(shape)[1]))

    def inside(self, index: Numbers, shape: Dims, make: Makes) -> bool:
        """Whether the reference kernels stay inside their operands; they need no order."""
        row, col = self.coordinates(index, shape, make)
        return bool(((row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1])).all())

    def rated(self, parameters: Parameters) -> Rates:
        """What its products cost."""
        return self.rates[0]


def fitting(got: Sequence[int], wanted: tuple[int, ...]) -> bool:
    """Whether sizes are those wanted, where -1 is any."""
    if len(got) != len(wanted):
        return False
    # No `want in (-1, size)`: where a compiler takes sizes for symbols, it finds no symbol in a tuple.
    return all(want == -1 or want == size for size, want in zip(got, wanted, strict=True))  # noqa: PLR1714


def _said(sizes: tuple[int, ...]) -> str:
    return f"[{', '.join('n' if size == -1 else str(size) for size in sizes)}]"
