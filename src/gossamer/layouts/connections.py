"""A linear layer while it is being frozen: its connections one by one, whatever held them before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from gossamer.layouts.arrays import Array, aligned, cast, name_of
from gossamer.layouts.values import widened
from gossamer.measure.room import require_memory


class Trained(NamedTuple):
    """The layout that a layer was trained in, and its integers: a hint for layouts that need parts to be whole."""

    layout: str
    parameters: dict[str, int]


@dataclass(frozen=True)
class Connections:
    """The canonical form that dead-neuron removal works on and every layout is encoded from.

    Args:
        shape: (int, int) - out_features, in_features.
        positions: [n], int64 - ascending, ``row * in_features + column``; just-grown zeros included.
        values: [n], float.
        bias: [out_features] or None.
        trained: Trained or None - what the layer was trained in.
        scale: [out_features], float32, with int8 values: what multiplies those of each neuron; else None.
        reads: str or None - type of inputs and bias where values are narrower; None: that of the values.

    Example:
        >>> c = Connections((2, 3), np.array([0, 2]), np.array([5.0, 7.0]))
        >>> c.fan_in().tolist(), c.fan_out().tolist(), c.dense().tolist()
        ([2, 0], [1, 0, 1], [[5.0, 0.0, 7.0], [0.0, 0.0, 0.0]])
    """

    shape: tuple[int, int]
    positions: Array
    values: Array
    bias: Array | None = None
    trained: Trained | None = None
    scale: Array | None = None
    reads: str | None = None

    @property
    def dtype(self) -> str:
        """Of inputs and bias."""
        return self.reads or name_of(self.values)

    @property
    def rows(self) -> Array:
        """[n], int64: the neuron of each connection."""
        return self.positions // self.shape[1]

    @property
    def cols(self) -> Array:
        """[n], int64: the input of each connection."""
        return self.positions % self.shape[1]

    @property
    def density(self) -> float:
        """Share of the dense layer's connections."""
        return self.positions.size / (self.shape[0] * self.shape[1])

    def fan_in(self) -> Array:
        """[out_features], int64: connections of each neuron."""
        return np.bincount(self.rows, minlength=self.shape[0])

    def fan_out(self) -> Array:
        """[in_features], int64: connections that leave each input."""
        return np.bincount(self.cols, minlength=self.shape[1])

    def dense(self) -> Array:
        """[out_features, in_features]: the weight with zeros where there is no connection."""
        values = self.wide().values
        flat = zeros(self.shape, values.dtype)
        flat[self.positions] = values
        return aligned(flat).reshape(self.shape)

    def wide(self) -> Connections:
        """The same layer with values of the type that it reads."""
        if self.reads is None:
            return self
        values = widened(self.values, self.rows, self.scale, self.reads)
        return replace(self, values=values, scale=None, reads=None)

    def without(self, neurons: Array | None = None, inputs: Array | None = None) -> Connections:
        """Remove neurons, inputs, and every connection that touches one; what is left is numbered anew.

        Args:
            neurons: [k], int64, or None.
            inputs: [k], int64, or None.

        Returns:
            Connections.

        Cost: O(n + out_features + in_features).

        Example:
            >>> c = Connections((2, 3), np.array([0, 2, 4]), np.array([5.0, 7.0, 9.0]))
            >>> smaller = c.without(inputs=np.array([0])); smaller.shape, smaller.positions.tolist()
            ((2, 2), [1, 2])
        """
        keep_row, keep_col = (np.ones(size, bool) for size in self.shape)
        if neurons is not None:
            keep_row[neurons] = False
        if inputs is not None:
            keep_col[inputs] = False
        rows, cols = self.rows, self.cols
        stays = keep_row[rows] & keep_col[cols]
        new_row, new_col = keep_row.cumsum() - 1, keep_col.cumsum() - 1
        shape = (int(keep_row.sum()), int(keep_col.sum()))
        positions = new_row[rows[stays]] * shape[1] + new_col[cols[stays]]
        bias = None if self.bias is None else self.bias[keep_row]
        return Connections(shape, positions, self.values[stays], bias, self.trained)

    def only(self, keep: Array) -> Connections:
        """The connections of a boolean vector, [n]."""
        return replace(self, positions=self.positions[keep], values=self.values[keep])

    def add_constant(self, inputs: Array) -> Connections:
        """The same layer with the share of constant inputs moved into the bias.

        Args:
            inputs: [in_features] - the constant of each input, 0 where it is not one.
        """
        bias = self.given(inputs)
        if self.bias is not None:
            bias = cast(self.bias, "float64") + bias
        return replace(self, bias=cast(bias, name_of(self.values)))

    def given(self, inputs: Array) -> Array:
        """[out_features], float64: what constant inputs give to each neuron."""
        with np.errstate(invalid="ignore", over="ignore"):  # infinities go on as they would in sums
            each = cast(self.values, "float64") * cast(inputs, "float64")[self.cols]
        return np.bincount(self.rows, each, minlength=self.shape[0])


def zeros(shape: tuple[int, int], dtype: Any) -> Array:
    """[out_features * in_features] zeros for a dense form; raises MemoryShortage where it would not fit."""
    size = shape[0] * shape[1]
    operation, hint = f"dense form of a layer {shape[1]} -> {shape[0]}", "freezing compares with it"
    require_memory(operation, size * np.dtype(dtype).itemsize, hint)
    return np.zeros(size, dtype)
