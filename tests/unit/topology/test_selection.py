"""Streaming selection gives what a sort of all scores would give, whatever the size of a tile."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import NonFiniteError
from gossamer.patterns import Grid
from gossamer.topology import TileScores, parts, top_mask, topk


def by_sorting(scores: torch.Tensor, taken: list[int], want: list[int], bucket: int) -> list[int]:
    """The definition: in every bucket the largest free scores, and among equal ones the first."""
    flat, chosen = scores.reshape(-1).tolist(), []
    for number, wanted in enumerate(want):
        free = [p for p in range(number * bucket, (number + 1) * bucket) if p not in taken]
        chosen += sorted(free, key=lambda p: (-flat[p], p))[:wanted]
    return sorted(chosen)


def stream(scores: torch.Tensor, grid: Grid) -> TileScores:
    """Scores handed out a few rows at a time."""
    return TileScores(grid, lambda rows, cols: scores.view(grid.rows, grid.cols)[rows, cols].clone())


@pytest.mark.parametrize("tile", [12, 40, 1 << 22])
@given(data=st.data())
def test_streaming_equals_sorting_for_every_tile_size_and_with_ties(tile: int, data: st.DataObject) -> None:
    """Whole-layer, row and tile-of-inputs buckets; few distinct scores, so that ties are the rule."""
    rows, pieces, width = (
        data.draw(st.integers(1, 6)),
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 70)),
    )
    cols = pieces * width
    grid = Grid(rows, cols, 1, 1)
    kinds = data.draw(st.sampled_from([1, 2, 4, 1000]))
    seed = data.draw(st.integers(0, 1 << 30))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, kinds, (rows, cols), generator=generator).float()
    bucket = data.draw(st.sampled_from([rows * cols, cols, width]))
    taken = (torch.rand(grid.size, generator=generator) < data.draw(st.floats(0, 1))).nonzero().squeeze(1)
    free = bucket - torch.bincount(taken // bucket, minlength=grid.size // bucket)
    want = (free * torch.rand(free.numel(), generator=generator) * 1.2).long().clamp(max=free)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "TILE", tile)
        patch.setattr(parts, "ROWS", 1)
        patch.setattr(topk, "CHUNK", data.draw(st.sampled_from([2, 32])))
        got = stream(scores, grid).select(taken, want, bucket)
    assert got.tolist() == by_sorting(scores, taken.tolist(), want.tolist(), bucket)


@pytest.mark.parametrize("bucket", [2000, 200_000])
def test_long_rows_of_zeros_are_filled_from_the_front(bucket: int) -> None:
    """A row whose gradient is zero everywhere grows in index order, not wherever a partial sort leaves it."""
    grid = Grid(100, 2000, 1, 1)
    scores = torch.zeros(100, 2000)
    want = torch.full((200_000 // bucket,), 3 * bucket // 2000)
    taken = torch.arange(0, 200_000, 2000)  # the first of every row
    got = stream(scores, grid).select(taken, want, bucket)
    assert got.tolist() == by_sorting(scores, taken.tolist(), want.tolist(), bucket)


@pytest.mark.parametrize("tile", [7, 1 << 22])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_scores_stop_the_selection_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch, bad: float, tile: int
) -> None:
    """Also in the last tile, and also at a position that is taken."""
    monkeypatch.setattr(parts, "TILE", tile)
    monkeypatch.setattr(parts, "ROWS", 1)
    for spot in (0, 34):
        scores = torch.rand(5, 7)
        scores.view(-1)[spot] = bad
        for bucket, want in ((35, torch.tensor([2])), (7, torch.ones(5, dtype=torch.int64))):
            with pytest.raises(NonFiniteError, match="finite"):
                stream(scores, Grid(5, 7, 1, 1)).select(torch.tensor([spot]), want, bucket)


def test_nothing_wanted_gives_nothing() -> None:
    """Zero connections to grow, over one tile and over many."""
    scores = torch.rand(4, 6)
    for bucket in (24, 6, 3):
        want = torch.zeros(24 // bucket, dtype=torch.int64)
        assert stream(scores, Grid(4, 6, 1, 1)).select(torch.tensor([1, 5]), want, bucket).numel() == 0


def test_every_free_position_can_be_wanted() -> None:
    """The complement of what is taken."""
    scores, taken = torch.rand(4, 6), torch.tensor([0, 5, 7, 22])
    for bucket in (24, 6, 3):
        free = bucket - torch.bincount(taken // bucket, minlength=24 // bucket)
        got = stream(scores, Grid(4, 6, 1, 1)).select(taken, free, bucket)
        assert got.tolist() == [p for p in range(24) if p not in taken.tolist()]


@given(st.lists(st.integers(0, 4), max_size=40), st.data())
def test_top_mask_marks_exactly_k_and_the_first_of_equals(scores: list[int], data: st.DataObject) -> None:
    """Against a stable sort; never one more because of a tie at the threshold."""
    k = data.draw(st.integers(0, len(scores)))
    marked = top_mask(torch.tensor(scores, dtype=torch.float32), k).nonzero().squeeze(1).tolist()
    assert marked == sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_selection_works_in_every_training_dtype(dtype: torch.dtype) -> None:
    """Half precision has many ties: they go to the first, as everywhere."""
    scores = (torch.randint(0, 9, (6, 200)) / 8).to(dtype)
    assert int(top_mask(scores.view(-1), 17).sum()) == 17
    for bucket in (1200, 200, 20):
        want = torch.full((1200 // bucket,), bucket // 10)
        got = stream(scores, Grid(6, 200, 1, 1)).select(torch.tensor([3, 300]), want, bucket)
        assert got.tolist() == by_sorting(scores.double(), [3, 300], want.tolist(), bucket)
