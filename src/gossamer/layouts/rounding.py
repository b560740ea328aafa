"""How weights become whole numbers and a scale for each neuron: a row here is a type of values.

All of them are held as int8 while a network runs, so every kernel of int8 values computes with them. A file holds
them in as few bits as they need; see ``bits``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from gossamer.layouts.arrays import Array

Rounded = tuple[Array, Array]  # codes [n] of int8, scale [neurons] of float32
STEPS: Final = 127  # of either sign, of inputs that are rounded to int8
LEAST: Final = 2.0**-119  # a smaller sample counts as zeros: its steps would leave the range of float32
SHARE: Final = np.float32(0.7)  # of a neuron's mean weight: smaller ones are 0 in three values


class Rounding(NamedTuple):
    """A type of values.

    Args:
        bits: int - of a value in a file, where a form holds connections alone.
        round: (values [n] of float32, their neurons [n], number of neurons) -> codes and scales; 0 stays 0.
    """

    bits: int
    round: Callable[[Array, Array, int], Rounded]


def steps(values: Array, rows: Array, neurons: int, *, largest: int) -> Rounded:
    """Equal steps between minus and plus the largest weight of each neuron; halves to even.

    Example:
        >>> codes, scale = steps(np.array([-0.7, 0.2, 0.0], np.float32), np.zeros(3, int), 1, largest=7)
        >>> codes.tolist(), [round(s, 3) for s in scale.tolist()]
        ([-7, 2, 0], [0.1])
    """
    most = np.zeros(neurons, np.float32)
    np.maximum.at(most, rows, np.abs(values))
    scale = most / np.float32(largest)
    scale = np.where(scale == 0, np.float32(1), scale)
    codes = np.rint(values / scale[rows]).clip(-largest, largest)
    return codes.astype(np.int8), scale


def signs(values: Array, rows: Array, neurons: int, *, share: np.float32) -> Rounded:
    """The sign of each weight that is above a share of its neuron's mean; the scale is the mean of these.

    That is the best scale for these signs: ``sum (w - scale * sign)^2`` is smallest at the mean of ``|w|``.

    Example:
        >>> codes, scale = signs(np.array([-3.0, 1.0, 0.2, 0.0], np.float32), np.zeros(4, int), 1, share=SHARE)
        >>> codes.tolist(), scale.tolist()
        ([-1, 1, 0, 0], [2.0])
    """
    size = np.abs(values)
    among = np.bincount(rows, minlength=neurons)
    mean = (np.bincount(rows, size, neurons) / np.maximum(among, 1)).astype(np.float32)
    keeps = (size > share * mean[rows]) & (size > 0)
    kept = np.bincount(rows, keeps, neurons)
    scale = (np.bincount(rows, size * keeps, neurons) / np.maximum(kept, 1)).astype(np.float32)
    scale = np.where(scale == 0, np.float32(1), scale)
    return (np.sign(values) * keeps).astype(np.int8), scale


ROUNDINGS: Final = {
    "int8": Rounding(8, partial(steps, largest=127)),  # -128 stays unused, so that the range is symmetric
    "int4": Rounding(4, partial(steps, largest=7)),
    "ternary": Rounding(2, partial(signs, share=SHARE)),
    "binary": Rounding(1, partial(signs, share=np.float32(0))),
}
