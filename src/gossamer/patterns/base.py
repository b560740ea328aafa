"""A pattern: a partition of a layer into buckets, a quota for each, and a narrow encoding of what is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import ConfigError, NonFiniteError, PatternError, ShapeError, TopologyError
from gossamer.layouts import layout
from gossamer.layouts.arrays import aligned
from gossamer.layouts.grid import Grid
from gossamer.patterns.sampling import free_positions, sample_distinct
from gossamer.registry import Registry

Index = dict[str, Tensor]  # the tensors a layer keeps: narrow integers, one entry per name
Shape = tuple[int, int]  # (out_features, in_features)

patterns: Registry[type[Pattern]] = Registry("pattern", group="gossamer.patterns")


def whole(count: float) -> int:
    """``floor``, forgiving what binary fractions lose: 0.29 * 100 is 29, not 28.999999999999996."""
    return int(count * (1 + 1e-14) + 1e-9)


class Pattern(ABC):
    """Base of all patterns: subclass, set the bucket, the budget and the layout, and register.

    A position is ``row * cols + col`` on the unit grid. A topology is an ascending int64 vector of positions.
    """

    name: ClassVar[str]
    layout: ClassVar[str]  # the kernel layout this pattern is stored in
    unit: tuple[int, int] = (1, 1)

    # --- what a new pattern says of itself -------------------------------------------------------------------------
    @abstractmethod
    def bucket(self, grid: Grid) -> int:
        """Size of a bucket: contiguous positions that share one quota. Divides ``grid.size``."""

    @abstractmethod
    def budget(self, density: float, shape: Shape) -> int:
        """Largest number of units whose share does not exceed ``density``; raises DensityError where none exists."""

    @abstractmethod
    def quotas(self, units: int, grid: Grid) -> Tensor:
        """[buckets], int64: how many of a budget of ``units`` each bucket holds before any neuron is ablated."""

    @property
    def parameters(self) -> dict[str, int]:
        """The integers of the layout beyond the shape, in its order."""
        return {}

    @property
    def neighbours(self) -> int:
        """Inputs side by side that belong together; in a convolution they have to be channels of one tap."""
        return self.unit[1]

    def check_counts(self, counts: Tensor, grid: Grid) -> str:
        """What is wrong with these units per bucket, or an empty string."""
        return ""

    # --- what every pattern gets ----------------------------------------------------------------------------------
    def __str__(self) -> str:
        return self.name

    def grid(self, shape: Shape) -> Grid:
        """The unit grid of a layer.

        Args:
            shape: (int, int) - out_features, in_features.
        Returns:
            Grid.
        Raises:
            PatternError: the layer is empty or the pattern does not divide it.
        Cost: O(1).
        Example:
            >>> from gossamer.patterns import FanIn
            >>> FanIn(group=4).grid((8, 5))
            Grid(rows=2, cols=5, h=4, w=1)
        """
        (n_out, n_in), (h, w) = shape, self.unit
        if n_out < 1 or n_in < 1:
            raise PatternError(
                f"{self} on a layer", expected="at least one input and one output", got=f"{shape}"
            )
        if n_out % h or n_in % w:
            raise PatternError(
                f"{self} on a layer",
                expected=f"outputs divisible by {h} and inputs by {w}",
                got=f"{n_out} x {n_in}",
                hint="choose another group size, or leave the layer out with skip=",
            )
        return Grid(n_out // h, n_in // w, h, w)

    def dims(self, shape: Shape) -> list[int]:
        """The ``shape`` argument of the kernels: output first, then the layout's own integers."""
        return [*shape, *self.parameters.values()]

    def encode(self, positions: Tensor, grid: Grid) -> Index:
        """Narrow index tensors of a topology, as the layout makes them.

        Args:
            positions: [n], int64 - ascending.
            grid: Grid - the layer.
        Returns:
            name -> tensor.
        Raises:
            TopologyError: positions that the layout cannot hold.
        Cost: O(n), and no wide copy.
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> p = Unstructured(); p.encode(torch.tensor([1, 3]), p.grid((2, 2)))["col"].tolist()
            [1, 1]
        """
        kind, shape = layout(self.layout), (grid.rows * grid.h, grid.cols * grid.w)
        try:
            index = kind.index(positions.numpy(), shape, self.parameters)
        except TopologyError as error:
            raise error.within(f"{self}.encode") from None
        return {name: torch.from_numpy(aligned(array)) for name, array in index.items()}

    def decode(self, index: Index, grid: Grid) -> Tensor:
        """Positions of an encoded topology; raises TopologyError where the tensors are inconsistent or out of range."""
        kind, shape = layout(self.layout), (grid.rows * grid.h, grid.cols * grid.w)
        try:
            arrays = {name: tensor.numpy() for name, tensor in index.items()}
            return torch.from_numpy(kind.units(arrays, shape, self.parameters))
        except TopologyError as error:
            raise error.within(f"{self}.decode") from None

    def sample(self, units: int, grid: Grid, generator: torch.Generator | None = None) -> Tensor:
        """Draw a topology uniformly among those the pattern allows.

        Args:
            units: int - budget, from ``budget``.
            grid: Grid - the layer.
            generator: torch.Generator or None.
        Returns:
            [n <= units], int64 - ascending positions.
        Cost: O(units) time and memory, whatever the size of the layer.
        Example:
            >>> from gossamer.patterns import NM
            >>> NM(1, 4).sample(2, NM(1, 4).grid((1, 8))).numel()
            2
        """
        return self.grow_random(torch.empty(0, dtype=torch.int64), self.quotas(units, grid), grid, generator)

    def grow_random(
        self, taken: Tensor, want: Tensor, grid: Grid, generator: torch.Generator | None = None
    ) -> Tensor:
        """``taken`` plus ``want[b]`` uniformly random free positions of every bucket; ascending, O(result)."""
        bucket = self.bucket(grid)
        free = bucket - self.count(taken, grid)
        chosen, rank = sample_distinct(free, want, generator)
        return merge(taken, free_positions(taken, chosen, rank, bucket))

    def count(self, positions: Tensor, grid: Grid) -> Tensor:
        """[buckets], int64: units per bucket."""
        bucket = self.bucket(grid)
        buckets = grid.size // bucket
        number = torch.empty(positions.shape, dtype=torch.int32 if buckets <= 1 << 31 else torch.int64)
        np.floor_divide(positions.numpy(), bucket, out=number.numpy(), casting="unsafe")
        return torch.bincount(number, minlength=buckets)

    def project(self, scores: Tensor, units: int, grid: Grid) -> Tensor:
        """The allowed topology that holds the largest total score.

        Args:
            scores: [out_features, in_features], float - one score a connection; a unit scores the sum of its members.
            units: int - budget.
            grid: Grid - the layer.
        Returns:
            [n <= units], int64 - ascending positions; among equal scores the first ones win.
        Raises:
            ShapeError, NonFiniteError.
        Cost: O(dense size): this is the way in from a dense weight.
        Example:
            >>> from gossamer.patterns import FanIn
            >>> p = FanIn(); p.project(torch.tensor([[1., 3., 2.], [9., 8., 7.]]), 2, p.grid((2, 3))).tolist()
            [1, 3]
        """
        if tuple(scores.shape) != (grid.rows * grid.h, grid.cols * grid.w):
            raise ShapeError(
                f"{self}.project",
                expected=f"{grid.rows * grid.h} x {grid.cols * grid.w}",
                got=f"{tuple(scores.shape)}",
            )
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteError(f"{self}.project", expected="finite scores", got="NaN or infinity")
        flat = self.units(scores, grid).sum(1).view(-1, self.bucket(grid))
        quotas = self.quotas(units, grid)
        best = torch.sort(flat, dim=1, descending=True, stable=True).indices
        taken = torch.arange(flat.shape[1]) < quotas.unsqueeze(1)
        rows = torch.arange(flat.shape[0]).unsqueeze(1).expand_as(best)
        return (rows * flat.shape[1] + best)[taken].sort().values

    @staticmethod
    def units(dense: Tensor, grid: Grid) -> Tensor:
        """[rows * cols, members] view of a dense weight, in the flat order."""
        return (
            dense.reshape(grid.rows, grid.h, grid.cols, grid.w)
            .transpose(1, 2)
            .reshape(grid.size, grid.members)
        )

    def pack(self, weight: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """Values of a dense weight at a topology.

        Args:
            weight: [out_features, in_features].
            positions: [n], int64.
            grid: Grid.
        Returns:
            [n * members] - flat values, members of a unit side by side.
        Cost: O(n) beyond a view of ``weight`` (a copy of it when units are larger than one connection).
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> p = Unstructured(); p.pack(torch.eye(2), torch.tensor([0, 3]), p.grid((2, 2))).tolist()
            [1.0, 1.0]
        """
        return self.units(weight, grid)[positions].reshape(-1)

    def unpack(self, values: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """Dense weight [out_features, in_features]: ``values`` at the topology, else zeros; the inverse of pack."""
        dense = values.new_zeros(grid.size, grid.members)
        dense[positions] = values[: positions.numel() * grid.members].view(-1, grid.members)
        blocks = dense.view(grid.rows, grid.cols, grid.h, grid.w).transpose(1, 2)
        return blocks.reshape(grid.rows * grid.h, grid.cols * grid.w)

    def validate(self, positions: Tensor, grid: Grid, full: bool = True) -> None:
        """Check a topology: dtype and size always, order, range and quotas when ``full``. Never changes it.

        Raises:
            TopologyError: with what is wrong.
        Cost: O(1), or O(units) when full.
        Example:
            >>> from gossamer.patterns import Unstructured
            >>> Unstructured().validate(torch.tensor([1, 3]), Grid(2, 2, 1, 1))
        """
        if positions.dtype != torch.int64 or positions.dim() != 1:
            raise TopologyError(
                f"{self}.validate",
                expected="a 1-D int64 vector",
                got=f"{positions.dtype}, {positions.dim()}-D",
            )
        if positions.numel() > grid.size:
            raise TopologyError(
                f"{self}.validate", expected=f"at most {grid.size} units", got=str(positions.numel())
            )
        if not full or positions.numel() == 0:
            return
        if int(positions[0]) < 0 or int(positions[-1]) >= grid.size or not bool((positions.diff() > 0).all()):
            raise TopologyError(
                f"{self}.validate",
                expected=f"ascending positions below {grid.size}",
                got="repeated, unsorted or out-of-range ones",
                hint="the file or the index tensors are damaged",
            )
        if problem := self.check_counts(self.count(positions, grid), grid):
            raise TopologyError(f"{self}.validate", expected=f"a topology of pattern {self}", got=problem)


def select(positions: Tensor, mask: Tensor) -> Tensor:
    """Positions where a mask is True; NumPy needs no vector of their places beside the result."""
    return torch.from_numpy(positions.numpy()[mask.numpy()])


def merge(kept: Tensor, grown: Tensor) -> Tensor:
    """One ascending vector from two that are; NumPy's stable sort merges ascending runs in linear time."""
    both = torch.cat([kept, grown])
    both.numpy().sort(kind="stable")
    return both


def parse(text: str) -> Pattern:
    """A pattern from its short name, as used in configs, files and on the command line.

    Args:
        text: str - ``"unstructured"``, ``"fanin"``, ``"fanin:4"``, ``"nm:1:8"``, ``"block:4"``; the inverse of
            ``str(pattern)``.
    Returns:
        Pattern.
    Raises:
        ConfigError: unknown name or arguments.
    Cost: O(1).
    Example:
        >>> parse("nm:2:4")
        NM(n=2, m=4)
    """
    name, *arguments = text.strip().lower().split(":")
    try:
        return patterns[name](*(int(a) for a in arguments))
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError) and not name.isdigit():
            raise
        raise ConfigError(
            "pattern by name",
            expected="a form such as fanin, fanin:4, unstructured, nm:1:8, block:4",
            got=repr(text),
            hint=f"N:M is nm:{text.strip()}" if name.isdigit() else str(error),
        ) from None
