"""A linear layer while it is being frozen: its connections one by one, whatever held them before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gossamer.layouts.values import widened

if TYPE_CHECKING:
    from gossamer.patterns import Grid, Pattern


@dataclass(frozen=True)
class Connections:
    """The canonical form that dead-neuron removal works on and every layout is encoded from.

    Args:
        shape: (int, int) - out_features, in_features.
        positions: [n], int64 - ascending, ``row * in_features + column``; just-grown zeros included.
        values: [n], float.
        bias: [out_features] or None.
        pattern: Pattern or None - what the layer was trained under; a hint for grouped and N:M layouts.
        scale: [out_features], float32, with int8 values: what multiplies those of each neuron; else None.
        reads: dtype of inputs and bias where values are narrower; None: that of the values.

    Example:
        >>> c = Connections((2, 3), torch.tensor([0, 2]), torch.tensor([5.0, 7.0]))
        >>> c.fan_in().tolist(), c.fan_out().tolist(), c.dense().tolist()
        ([2, 0], [1, 0, 1], [[5.0, 0.0, 7.0], [0.0, 0.0, 0.0]])
    """

    shape: tuple[int, int]
    positions: Tensor
    values: Tensor
    bias: Tensor | None = None
    pattern: Pattern | None = None
    scale: Tensor | None = None
    reads: torch.dtype | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs and bias."""
        return self.reads or self.values.dtype

    @property
    def rows(self) -> Tensor:
        """[n], int64: the neuron of each connection."""
        return self.positions // self.shape[1]

    @property
    def cols(self) -> Tensor:
        """[n], int64: the input of each connection."""
        return self.positions % self.shape[1]

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.positions.numel() / (self.shape[0] * self.shape[1])

    def fan_in(self) -> Tensor:
        """[out_features], int64: connections of each neuron."""
        return torch.bincount(self.rows, minlength=self.shape[0])

    def fan_out(self) -> Tensor:
        """[in_features], int64: connections that leave each input."""
        return torch.bincount(self.cols, minlength=self.shape[1])

    def dense(self) -> Tensor:
        """[out_features, in_features]: the weight with zeros where there is no connection."""
        values = self.wide().values
        flat = values.new_zeros(self.shape[0] * self.shape[1])
        flat[self.positions] = values
        return flat.view(self.shape)

    def wide(self) -> Connections:
        """The same layer with values of the type that it reads."""
        if self.reads is None:
            return self
        values = widened(self.values, self.rows, self.scale, self.reads)
        return replace(self, values=values, scale=None, reads=None)

    def without(self, neurons: Tensor | None = None, inputs: Tensor | None = None) -> Connections:
        """Remove neurons, inputs, and every connection that touches one; what is left is numbered anew.

        Args:
            neurons: [k], int64, or None.
            inputs: [k], int64, or None.

        Returns:
            Connections.

        Cost: O(n + out_features + in_features).

        Example:
            >>> c = Connections((2, 3), torch.tensor([0, 2, 4]), torch.tensor([5.0, 7.0, 9.0]))
            >>> smaller = c.without(inputs=torch.tensor([0])); smaller.shape, smaller.positions.tolist()
            ((2, 2), [1, 2])
        """
        keep_row, keep_col = (torch.ones(size, dtype=torch.bool) for size in self.shape)
        if neurons is not None:
            keep_row[neurons] = False
        if inputs is not None:
            keep_col[inputs] = False
        rows, cols = self.rows, self.cols
        stays = keep_row[rows] & keep_col[cols]
        new_row, new_col = keep_row.cumsum(0) - 1, keep_col.cumsum(0) - 1
        shape = (int(keep_row.sum()), int(keep_col.sum()))
        positions = new_row[rows[stays]] * shape[1] + new_col[cols[stays]]
        bias = None if self.bias is None else self.bias[keep_row]
        return Connections(shape, positions, self.values[stays], bias, self.pattern)

    def only(self, keep: Tensor) -> Connections:
        """The connections of a boolean vector, [n]."""
        return replace(self, positions=self.positions[keep], values=self.values[keep])

    def add_constant(self, inputs: Tensor) -> Connections:
        """The same layer with the share of constant inputs moved into the bias.

        Args:
            inputs: [in_features] - the constant of each input, 0 where it is not one.
        """
        shift = torch.zeros(self.shape[0], dtype=torch.float64)
        shift.index_add_(0, self.rows, self.values.double() * inputs.double()[self.cols])
        bias = shift if self.bias is None else self.bias.double() + shift
        return replace(self, bias=bias.to(self.values.dtype))


def singles(units: Tensor, values: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Positions and values of single connections, ascending, from units of ``h x w``."""
    if grid.members == 1:
        return units.clone(), values.reshape(-1).clone()
    member = torch.arange(grid.members)
    rows = (units // grid.cols * grid.h).unsqueeze(1) + member // grid.w
    cols = (units % grid.cols * grid.w).unsqueeze(1) + member % grid.w
    positions, order = (rows * grid.cols * grid.w + cols).reshape(-1).sort()
    return positions, values.reshape(-1)[order]


def group(connections: Connections, grid: Grid) -> tuple[Tensor, Tensor] | None:
    """Units and their values on a coarser grid, or None where a unit is there in part only.

    Returns:
        (positions [units], values [units, members]) in flat order, or None.
    """
    if grid.members == 1:
        return connections.positions, connections.values.view(-1, 1)
    rows, cols = connections.rows, connections.cols
    unit = rows // grid.h * grid.cols + cols // grid.w
    member = rows % grid.h * grid.w + cols % grid.w
    positions, owner, counts = torch.unique(unit, return_inverse=True, return_counts=True)
    if bool((counts != grid.members).any()):
        return None
    values = connections.values.new_zeros(positions.numel(), grid.members)
    values[owner, member] = connections.values
    return positions, values
