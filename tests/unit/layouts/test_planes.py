"""Planes of pixels and where a convolution reads them, against goldens by hand and convolutions of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gossamer.errors import ConfigError, ShapeError
from gossamer.layouts.geometry import Geometry
from gossamer.layouts.planes import Places, Planes, border_of, places


def test_a_seven_by_seven_plane_with_shared_borders_is_sixty_four_elements() -> None:
    planes = Planes(3, 7, 7, border=(1, 1))
    assert (planes.pitch, planes.rows, planes.plane, planes.count) == (8, 8, 64, 3)
    assert planes.guard == 32  # 8 + 1 zeros, and 15 that the last vector may read, in whole vectors
    assert planes.size == 2 * 32 + 3 * 64
    assert planes.at(2, 3, 4) == 32 + 2 * 64 + 3 * 8 + 4
    assert planes.at(1, 0, -1) == planes.at(0, 7, 7)  # left of a row is right of the one before
    with pytest.raises(ShapeError, match=r"pixel \(0, -2\)"):
        planes.at(0, 0, -2)


def test_phases_have_planes_of_their_own_beside_each_other() -> None:
    planes = Planes(3, 4, 5, border=(1, 1), phases=(2, 2))
    assert (planes.pitch, planes.rows, planes.count) == (4, 3, 12)
    assert planes.at(1, 3, 2) == planes.guard + (2 * 3 + 1) * 12 + 1 * 4 + 1  # odd row, even column
    assert planes.at(0, -1, -1) == planes.guard + 3 * 3 * 12 - 4 - 1


def test_places_of_three_by_three_by_hand() -> None:
    planes = Planes(2, 2, 3, border=(1, 1))  # pitch 4, plane 12
    found = places(Geometry(2, (3, 3), padding=(1, 1, 1, 1)), planes, planes)
    assert found.columns.tolist() == [
        -5, 7, -4, 8, -3, 9, -1, 11, 0, 12, 1, 13, 3, 15, 4, 16, 5, 17
    ]  # fmt: skip
    assert found.spans.tolist() == [[0, 0, 12]]
    assert found.inside is not None
    assert np.unpackbits(found.inside, bitorder="little")[:12].tolist() == [1, 1, 1, 0] * 2 + [0] * 4
    assert (found.group_step, found.step, found.split, found.reads) == (24, 1, 0, (-32, 24 + 32))


def test_places_of_stride_two_by_hand() -> None:
    geometry = Geometry(1, (1, 3), stride=(1, 2), padding=(1, 1, 0, 0))
    out = Planes(1, 1, 3)
    by_phase = places(geometry, Planes(1, 1, 5, border=(0, 1), phases=(1, 2)), out)  # even: 3 + 1, odd: 2 + 2
    assert by_phase.columns.tolist() == [3, 0, 4]  # odd pixel -1 is the zero after the even ones
    assert (by_phase.step, by_phase.spans.tolist(), by_phase.inside) == (1, [[0, 0, 3]], None)
    by_step = places(geometry, Planes(1, 1, 5, border=(0, 1)), out)
    assert (by_step.columns.tolist(), by_step.step) == ([-1, 0, 1], 2)


def test_even_and_odd_outputs_are_split_by_hand() -> None:
    out = Planes(2, 1, 3, border=(0, 1), phases=(1, 2))  # pitch 3
    found = places(Geometry(1, (1, 1)), Planes(1, 1, 3), out)
    assert (found.spans.tolist(), found.split) == ([[0, 0, 6]], 6)
    assert found.inside is not None
    assert np.unpackbits(found.inside[:1], bitorder="little")[:6].tolist() == [1, 1, 1, 0, 0, 0]


def test_columns_of_groups_begin_with_the_channels_of_the_first() -> None:
    planes = Planes(4, 3, 3)
    found = places(Geometry(4, (1, 1), groups=2), planes, planes)
    assert (found.columns.tolist(), found.group_step) == ([0, 9], 18)


CASES = [
    (Geometry(3, (3, 3), padding=(1, 1, 1, 1)), (5, 6), (1, 1), (1, 1)),
    (Geometry(2, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1)), (7, 8), (2, 2), (1, 1)),
    (Geometry(2, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1)), (7, 8), (1, 1), (1, 1)),
    (Geometry(2, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1)), (9, 8), (2, 1), (2, 2)),
    (Geometry(2, (3, 2), stride=(3, 1), padding=(0, 2, 1, 0), dilation=(2, 3)), (9, 8), (3, 1), (1, 2)),
    (Geometry(2, (2, 3), stride=(1, 3), padding=(4, 0, 0, 3)), (4, 7), (1, 1), (3, 1)),
    (Geometry(4, (3, 1), groups=2), (4, 3), (1, 1), (2, 2)),
    (Geometry(4, (1, 1)), (5, 5), (2, 2), (2, 2)),
    (Geometry(1, (1, 1), stride=(2, 2)), (5, 4), (1, 1), (1, 1)),
    (Geometry(1, (1, 1), padding=(2, 2, 2, 2)), (1, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("more", [(0, 0), (2, 1)])
@pytest.mark.parametrize(("geometry", "size", "phases_in", "phases_out"), CASES)
def test_products_at_the_places_are_the_convolution(
    geometry: Geometry, size: tuple[int, int], phases_in: tuple[int, int], phases_out: tuple[int, int],
    more: tuple[int, int],
) -> None:  # fmt: skip
    """Every read stays inside the planes, every output element is written, the border as zero."""
    rng, rows = np.random.default_rng(0), 4
    need = border_of(geometry, *size, phases_in)
    before = Planes(geometry.channels, *size, (need[0] + more[0], need[1] + more[1]), phases_in)
    after = Planes(rows, *geometry.out_size(*size), more, phases_out)
    x, weight = rng.normal(size=(geometry.channels, *size)), rng.normal(size=(rows, geometry.columns))
    found = _convolved(places(geometry, before, after), weight, _entered(x, before), after, geometry.groups)
    kernel = weight.reshape(rows, *geometry.kernel, -1).transpose(0, 3, 1, 2)
    padded = F.pad(torch.from_numpy(x), geometry.padding)
    want = F.conv2d(
        padded, torch.from_numpy(kernel), None, geometry.stride, 0, geometry.dilation, geometry.groups
    )
    np.testing.assert_allclose(found, _entered(want.numpy(), after), atol=1e-12)


def _entered(image: np.ndarray, planes: Planes) -> np.ndarray:
    memory = np.zeros(planes.size)
    for (c, y, x), number in np.ndenumerate(image):
        memory[planes.at(c, y, x)] = number
    return memory


def _convolved(where: Places, weight: np.ndarray, x: np.ndarray, out: Planes, groups: int) -> np.ndarray:
    """The definition: position by position; what no span writes stays NaN."""
    y = np.full(out.size, np.nan)
    y[: out.guard] = y[out.size - out.guard :] = 0
    bits = 0
    assert where.reads[1] - where.reads[0] == len(x)
    for read, write, length in where.spans:
        for i in range(length):
            inside = where.inside is None or where.inside[bits + i // 8] >> (i % 8) & 1
            to = write + (i % 2 * where.split + i // 2 if where.split else i)
            assert 0 <= to < where.writes
            for row in range(len(weight)):
                group = row // (len(weight) // groups) * where.group_step
                at = -where.reads[0] + read + i * where.step + group + where.columns
                assert not inside or (at.min() >= 0 and at.max() < len(x))
                y[out.guard + row * out.plane + to] = weight[row] @ x[at] if inside else 0
        bits += -(-length // 8)
    return y


def test_planes_that_do_not_fit_are_refused() -> None:
    geometry = Geometry(2, (3, 3), padding=(1, 1, 1, 1))
    with pytest.raises(ShapeError, match="a border of at least"):
        places(geometry, Planes(2, 4, 4, (1, 0)), Planes(1, 4, 4))
    with pytest.raises(ShapeError, match="2 channels to 4 x 4"):
        places(geometry, Planes(2, 4, 4, (1, 1)), Planes(1, 4, 5))
    with pytest.raises(ShapeError, match="phases that divide the stride"):
        places(geometry, Planes(2, 4, 4, (1, 1), (2, 2)), Planes(1, 4, 4))
    with pytest.raises(ShapeError, match="pad the input first"):
        places(Geometry(2, (1, 1), padding=(1, 0, 0, 0), mode="circular"), Planes(2, 4, 4), Planes(1, 4, 5))


def test_geometry_says_what_does_not_fit() -> None:
    assert Geometry(6, (2, 3), groups=3).columns == 12
    with pytest.raises(ShapeError, match="at least 5 x 1 pixels, got 4 x 1"):
        Geometry(1, (3, 1), dilation=(2, 1)).out_size(4, 1)
    with pytest.raises(ShapeError, match="a reflect border of 2 fits"):
        Geometry(1, (1, 1), padding=(2, 0, 0, 0), mode="reflect").out_size(4, 2)
    Geometry(1, (1, 1), padding=(2, 0, 0, 0), mode="circular").out_size(4, 2)
    with pytest.raises(ShapeError, match="0 x 3"):
        Geometry(1, (1, 1), padding=(1, 1, 1, 1)).out_size(0, 3)
    for wrong in (
        {"kernel": (0, 1)}, {"kernel": (1, 1), "stride": (1, 0)}, {"kernel": (1, 1), "padding": (1, -1, 0, 0)},
        {"kernel": (1, 1), "groups": 3}, {"kernel": (1, 1), "mode": "same"}, {"kernel": (1,)},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Geometry(4, **wrong)
