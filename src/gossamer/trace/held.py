"""What is known of the features of a value, and of those of all values of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.layouts.arrays import Array

ROW, IMAGE = -1, -3  # the dimension in which a layer reads features, counted from the last
BORDER = "tied to channels that a border of fixed width adds"  # their number is fixed, their order is not


class Held(NamedTuple):
    """The features of a value.

    Args:
        fates: [features], int - numbers of fates.
        axis: int, negative - the dimension in which features stand.
        constants: Tensor [features] - what a feature always is, where that is known.
        known: [features], bool.
    """

    fates: Array
    axis: int
    constants: Tensor
    known: Array


def in_order(x: Held, order: list[int]) -> Held:
    """The same features where dimensions stand in another order: for each one, which it was."""
    return x._replace(axis=order.index(len(order) + x.axis) - len(order))


@dataclass
class Features:
    """What a walk through the graph has found.

    Args:
        held: value -> Held; a value whose features nobody can take apart is missing.
        ties: pairs of arrays of fates that are the same.
        together: arrays [parts, members] of fates: of a part all go or none.
        pinned: pairs of fates that stay, and why, in words.
        total: int - fates given out.
    """

    held: dict[str, Held] = field(default_factory=dict)
    ties: list[tuple[Array, Array]] = field(default_factory=list)
    together: list[Array] = field(default_factory=list)
    pinned: list[tuple[Array, str]] = field(default_factory=list)
    total: int = 0

    def new(self, number: int) -> Array:
        """Fates that nothing else has."""
        self.total += number
        return np.arange(self.total - number, self.total)

    def pin(self, names: tuple[str, ...], why: str) -> None:
        """These values are read as a whole."""
        self.pinned += [(self.held[name].fates, why) for name in names if name in self.held]

    def labels(self) -> Array:
        """[fates]: the same number for all that are tied."""
        label = np.arange(self.total)
        changed = bool(self.ties)
        while changed:
            before = label.copy()
            for first, second in self.ties:
                least = np.minimum(label[first], label[second])
                np.minimum.at(label, label[first], least)
                np.minimum.at(label, label[second], least)
                label = label[label]
            changed = not np.array_equal(before, label)
        return label
