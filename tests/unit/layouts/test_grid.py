"""Connections in units of several, and layers whose units are not whole."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.layouts.connections import Connections
from gossamer.layouts.grid import Grid, group

GRID = Grid(2, 3, 2, 1)  # a layer of 4 x 3, in columns of two


def of(*positions: int) -> Connections:
    return Connections((4, 3), np.array(positions, np.int64), np.arange(1.0, 1 + len(positions)))


def test_values_go_to_the_units_of_their_connections() -> None:
    """Rows 0 and 1 share column 1; rows 2 and 3 share columns 0 and 2."""
    units, values = group(of(1, 4, 6, 8, 9, 11), GRID)
    assert units.tolist() == [1, 3, 5]
    assert values.tolist() == [[1.0, 2.0], [3.0, 5.0], [4.0, 6.0]]


@pytest.mark.parametrize(
    "positions",
    [(1,), (1, 5), (4, 6, 9), (1, 4, 6), (1, 4, 6, 11), (6, 8, 9)],
    ids=["one", "other columns", "lower row", "last row", "last columns", "second unit"],
)
def test_a_unit_in_part_is_no_unit_wherever_it_stands(positions: tuple[int, ...]) -> None:
    assert group(of(*positions), GRID) is None


def test_a_layer_without_connections_has_no_units() -> None:
    units, values = group(of(), GRID)
    assert (units.size, values.shape) == (0, (0, 2))
