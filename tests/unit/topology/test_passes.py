"""The compiled selector chooses, to the position, what its definition in torch chooses; errors are the same too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import NonFiniteError, ShapeError
from gossamer.kernels.cpu import CompiledSelector, Factors, available_isas, pack_inputs
from gossamer.ops.growth import growth_factors
from gossamer.patterns import Grid
from gossamer.topology import TileScores, TorchSelector, parts, selection

ISAS = available_isas()
pytestmark = pytest.mark.skipif(not ISAS, reason="no compiled core: build it to compare it")
NONE = torch.empty(0, dtype=torch.int64)
WIDTHS = (1, 2, 3, 4, 7, 8, 9, 16, 31, 33, 70, 300, 2100)  # of a bucket: below, at and above every vector
GROUPS = ((1, 1), (1, 1), (2, 1), (8, 1), (1, 3), (2, 2))


def gradient(kind: str, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Distinct values; few of them; zeros of both signs; mostly zeros."""
    if kind == "distinct":
        return torch.randn(shape, generator=generator)
    few = torch.randint(-2, 3, shape, generator=generator).float()
    if kind == "zeros":
        return few * 0.0
    return few * (torch.rand(shape, generator=generator) < 0.1) if kind == "sparse" else few


def parts_of(dense: torch.Tensor, grid: Grid) -> Callable[[slice, slice], torch.Tensor]:
    """Tiles of a gradient, in memory of their own."""
    units = dense.view(grid.rows, grid.h, grid.cols, grid.w)
    return lambda rows, cols: units[rows, :, cols].clone().flatten(2).flatten(0, 1)


@contextmanager
def small_tiles(data: st.DataObject, grid: Grid) -> Iterator[None]:
    """Tiles and samples so small that there are several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "TILE", grid.size * grid.members // data.draw(st.sampled_from([1, 3, 10])) + 1)
        patch.setattr(parts, "ROWS", data.draw(st.sampled_from([1, 5])))
        patch.setattr(parts, "CUT", data.draw(st.sampled_from([1, 8])))
        patch.setattr(parts, "WHOLE", data.draw(st.sampled_from([1, 1 << 20])))
        patch.setattr(selection, "SAMPLE", data.draw(st.sampled_from([1, 8])))
        yield


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(data=st.data())
def test_the_positions_of_the_definition(isa: str, dtype: torch.dtype, data: st.DataObject) -> None:
    """Per bucket, per row and per layer; nothing or all taken or wanted; tiles of one row and of all."""
    rows, pieces = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    width, (h, w) = data.draw(st.sampled_from(WIDTHS)), data.draw(st.sampled_from(GROUPS))
    grid = Grid(rows, pieces * width, h, w)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1 << 30)))
    kind = data.draw(st.sampled_from(["distinct", "few", "zeros", "sparse"]))
    dense = gradient(kind, (rows * h, grid.cols * w), generator).to(dtype)
    bucket = data.draw(st.sampled_from([grid.size, grid.cols, width]))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
    taken = (torch.rand(grid.size, generator=generator) < share).nonzero().squeeze(1)
    free = bucket - torch.bincount(taken // bucket, minlength=grid.size // bucket)
    wanted = data.draw(st.sampled_from([0.0, 0.02, 0.5, 2.0]))
    want = (free * wanted * torch.rand(free.numel(), generator=generator)).long().clamp(max=free)

    with small_tiles(data, grid):
        expected = TileScores(grid, parts_of(dense, grid)).select(taken, want, bucket)
        got = TileScores(grid, parts_of(dense, grid), selector=CompiledSelector(isa)).select(
            taken, want, bucket
        )
    assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spot", [0, 8, 36, 73])
def test_non_finite_gradients_are_refused_wherever_they_are(isa: str, bad: float, spot: int) -> None:
    """In a vector or after the last one, also where a position is taken."""
    tile = torch.rand(2, 37)
    tile.view(-1)[spot] = bad
    scores = TileScores(
        Grid(2, 37, 1, 1), lambda rows, cols: tile[rows, cols].clone(), selector=CompiledSelector(isa)
    )
    for want, bucket in ((torch.ones(2, dtype=torch.int64), 37), (torch.ones(1, dtype=torch.int64), 74)):
        with pytest.raises(NonFiniteError, match="nothing was changed"):
            scores.select(torch.tensor([spot]), want, bucket)


@pytest.mark.parametrize("isa", ISAS)
def test_finite_members_whose_sum_is_not_are_refused(isa: str) -> None:
    """The score of a unit is what must be finite."""
    tile = torch.full((4, 9), 2e38)
    for selector in (TorchSelector(), CompiledSelector(isa)):
        scores = TileScores(Grid(2, 9, 2, 1), parts_of(tile, Grid(2, 9, 2, 1)), selector=selector)
        with pytest.raises(NonFiniteError):
            scores.select(NONE, torch.ones(2, dtype=torch.int64), 9)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [5, 64])
def test_more_than_is_free_is_refused(isa: str, width: int) -> None:
    """And so is more than the bucket holds, or less than nothing."""
    tile, selector, grid = torch.rand(2, width), CompiledSelector(isa), (2, width, 1, 1)
    for taken, want in (([0], [width, 1]), ([], [width + 1, 1]), ([], [-1, 2])):
        with pytest.raises(ShapeError, match=r"kernels.cpu.growth"):
            selector.in_buckets(tile.clone(), grid, torch.tensor(taken).long(), torch.tensor(want), width)


@pytest.mark.parametrize("isa", ISAS)
def test_threads_do_not_change_what_is_chosen(isa: str) -> None:
    """Enough rows that the pool gets some; ties, so that order matters."""
    dense = torch.randint(-50, 50, (700, 900), generator=torch.Generator().manual_seed(0)).float()
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            grid = Grid(700, 900, 1, 1)
            scores = TileScores(grid, parts_of(dense, grid), selector=CompiledSelector(isa))
            every = torch.arange(0, 630_000, 11)
            found.append(
                [
                    scores.select(every, torch.tensor([5000]), 630_000).tolist(),
                    scores.select(every, torch.full((700,), 40), 900).tolist(),
                    scores.select(every, torch.full((70_000,), 2), 9).tolist(),
                ]
            )
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


def test_a_sample_that_misleads_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampled rows hold all the largest scores: the floor is too high, and the layer is passed a second time."""
    monkeypatch.setattr(parts, "TILE", 3200)
    monkeypatch.setattr(selection, "SAMPLE", 2)
    monkeypatch.setattr(selection, "LINES", 32)
    dense = torch.rand(64, 50, generator=torch.Generator().manual_seed(0))
    dense[1::2] *= 100
    passed: list[slice] = []

    def rows(part: slice, cols: slice) -> torch.Tensor:
        passed.append(part)
        return dense[part, cols].clone()

    best = dense.view(-1).topk(800).indices.sort().values
    assert torch.equal(TileScores(Grid(64, 50, 1, 1), rows).select(NONE, torch.tensor([800]), 3200), best)
    assert passed == [slice(1, 64, 2), slice(0, 64), slice(0, 64)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(data=st.data())
def test_rows_made_by_the_passes_are_those_of_the_product(
    isa: str, dtype: torch.dtype, data: st.DataObject
) -> None:
    """From small integers, whose products are exact in every order and full of ties; one pair or several."""
    rows, pieces = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    width, (h, w) = data.draw(st.sampled_from(WIDTHS)), data.draw(st.sampled_from(GROUPS))
    grid = Grid(rows, pieces * width, h, w)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1 << 30)))
    batches, most = (
        data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)),
        data.draw(st.integers(1, 9)),
    )
    pairs = [
        tuple(
            torch.randint(-most, most + 1, (batch, size), generator=generator).to(dtype)
            for size in (grid.cols * w, rows * h)
        )
        for batch in batches
    ]
    dense = sum(dy.T @ x for x, dy in pairs)
    bucket = data.draw(st.sampled_from([grid.size, grid.cols, width]))
    taken = (torch.rand(grid.size, generator=generator) < 0.2).nonzero().squeeze(1)
    free = bucket - torch.bincount(taken // bucket, minlength=grid.size // bucket)
    want = (free * torch.rand(free.numel(), generator=generator)).long()

    with small_tiles(data, grid):
        expected = TileScores(grid, parts_of(dense, grid)).select(taken, want, bucket)
        given = growth_factors(pairs, grid)
        made = TileScores(grid, parts_of(dense, grid), selector=CompiledSelector(isa), given=given)
        assert made.select(taken, want, bucket).tolist() == expected.tolist()


@pytest.mark.parametrize("isa", ISAS)
def test_rows_do_not_depend_on_tiles_or_threads(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that are rounded: every score has the bits it has in a tile of its own."""
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(33, 130, generator=generator), torch.randn(33, 210, generator=generator))]
    selector, grid = CompiledSelector(isa), Grid(210, 130, 1, 1)
    made = growth_factors(pairs, grid)

    def scores_of(part: slice) -> torch.Tensor:
        tile = made(part, slice(0, 130))
        count = tile.shape[0] * 130
        scores, positions = torch.empty(count), torch.empty(count, dtype=torch.int64)
        assert selector.above(tile, (tile.shape[0], 130, 1, 1), NONE, -0.5, scores, positions) == count
        return scores

    threads, whole = torch.get_num_threads(), scores_of(slice(0, 210))
    exact = (pairs[0][1].double().T @ pairs[0][0].double()).abs().view(-1)
    assert float((whole - exact).abs().max()) < 1e-4
    assert torch.equal(whole, torch.cat([scores_of(slice(r, min(r + 7, 210))) for r in range(0, 210, 7)]))
    assert torch.equal(whole.view(210, 130)[3::20].reshape(-1), scores_of(slice(3, 210, 20)))
    monkeypatch.setattr(parts, "ROWS", 1)
    try:
        chosen = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            scores = TileScores(grid, parts_of(exact, grid), selector=selector, given=made)
            chosen.append(
                scores.select(NONE, torch.tensor([900]), grid.size).tolist()
                + scores.select(NONE, torch.full((210,), 5), 130).tolist()
            )
    finally:
        torch.set_num_threads(threads)
    assert chosen[0] == chosen[1] == chosen[2]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [(0, 0), (4, 16), (4, 20)])
def test_factors_that_are_not_finite_are_refused(isa: str, bad: float, where: tuple[int, int]) -> None:
    """In the first panel of inputs and in the part of one at the end."""
    x, dy = torch.rand(5, 21), torch.rand(5, 3)
    x[where] = bad
    grid = Grid(3, 21, 1, 1)
    given = growth_factors([(x, dy)], grid)
    scores = TileScores(grid, parts_of(dy.T @ x, grid), selector=CompiledSelector(isa), given=given)
    for want, bucket in ((torch.ones(3, dtype=torch.int64), 21), (torch.ones(1, dtype=torch.int64), 63)):
        with pytest.raises(NonFiniteError, match="nothing was changed"):
            scores.select(NONE, want, bucket)


@pytest.mark.parametrize("isa", ISAS)
def test_factors_that_do_not_fit_are_refused(isa: str) -> None:
    """Inputs of another batch, width or type than the kernels would read."""
    selector, want, dy = CompiledSelector(isa), torch.ones(3, dtype=torch.int64), torch.rand(5, 3)
    for inputs in (torch.rand(4, 21), torch.rand(5, 40), torch.rand(5, 21).double()):
        with pytest.raises(ShapeError, match="inputs packed as"):
            selector.in_buckets(Factors(dy, pack_inputs([inputs]), 21), (3, 21, 1, 1), NONE, want, 21)
    with pytest.raises(ShapeError, match="a tile of grid"):
        selector.in_buckets(Factors(dy, pack_inputs([torch.rand(5, 21)]), 21), (3, 20, 1, 1), NONE, want, 20)
