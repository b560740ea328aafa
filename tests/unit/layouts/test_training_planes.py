"""What training hands the core: planes of one pitch, with zeros wherever a gradient reads past the output."""

from __future__ import annotations

import pytest

from gossamer.kernels.cpu.conv import training_planes
from gossamer.layouts.geometry import Geometry
from gossamer.layouts.planes import Planes


@pytest.mark.parametrize(
    ("geometry", "size", "before", "after"),
    [
        (Geometry(2, (3, 3), padding=(1, 1, 1, 1)), (7, 7), ((1, 1), (1, 1)), (1, 1)),
        (Geometry(2, (3, 3)), (7, 7), ((0, 0), (1, 1)), (2, 2)),  # the gradient of the corner reads two zeros
        (Geometry(2, (1, 1), padding=(1, 1, 1, 1)), (5, 5), ((1, 2), (1, 1)), (0, 0)),  # wider out than in
        (Geometry(2, (3, 3), (2, 2), (1, 1, 1, 1)), (8, 8), ((1, 1), (2, 2)), (1, 1)),
    ],
)
def test_borders_of_training_by_hand(
    geometry: Geometry,
    size: tuple[int, int],
    before: tuple[tuple[int, int], tuple[int, int]],
    after: tuple[int, int],
) -> None:
    border, phases = before
    out = geometry.out_size(*size)
    found = training_planes(geometry, *size, 4)
    assert found == (Planes(2, *size, border, phases), Planes(4, *out, after))
    assert found[0].pitch == found[1].pitch
