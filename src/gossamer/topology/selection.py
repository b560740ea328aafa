"""Choosing the best positions when all scores together would not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from gossamer.errors import NonFiniteError
from gossamer.patterns import Grid

TILE = 1 << 22  # scores held at once: 16 MiB of fp32
CHUNK = 32  # neighbours whose maximum stands for them


def top_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the k largest scores; among equal ones the first win.

    Args:
        scores: [n], float - finite.
        k: int - how many, at most n.
    Returns:
        [n], bool - exactly k True.
    Raises:
        NonFiniteError: a score is NaN or infinite.
    Cost: O(n) time (a selection, not a sort).
    Example:
        >>> top_mask(torch.tensor([1., 3., 3., 3.]), 2).tolist()
        [False, True, True, False]
    """
    if scores.numel() and not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("top_mask", expected="finite scores", got="NaN or infinity")
    if k <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = torch.kthvalue(scores, scores.numel() - k + 1).values
    chosen = scores > threshold
    ties = (scores == threshold).nonzero().squeeze(1)
    chosen[ties[: k - int(chosen.sum())]] = True
    return chosen


def _largest(scores: Tensor, k: int) -> Tensor:
    """[rows, k] indices of the k largest of each row, largest first.

    The k largest lie in the k chunks with the largest maxima, so one cheap pass for the maxima replaces a selection
    over the whole row where rows are long.
    """
    rows, width = scores.shape
    if k * CHUNK * 4 > width:
        return torch.topk(scores, k, dim=1).indices
    whole = width // CHUNK * CHUNK  # the columns after the last whole chunk are always candidates
    chunks = torch.topk(scores[:, :whole].unflatten(1, (-1, CHUNK)).amax(2), k, dim=1).indices
    inside = (chunks.unsqueeze(2) * CHUNK + torch.arange(CHUNK)).flatten(1)
    candidates = torch.cat([inside, torch.arange(whole, width).expand(rows, -1)], dim=1)
    return candidates.gather(1, torch.topk(scores.gather(1, candidates), k, dim=1).indices)


def _above(scores: Tensor, floor: float) -> Tensor:
    """Ascending indices of the scores above ``floor``; where they are few, chunks without one are passed over."""
    whole = scores.numel() // CHUNK * CHUNK
    chunks = (scores[:whole].view(-1, CHUNK).amax(1) > floor).nonzero().squeeze(1)
    if chunks.numel() * CHUNK * 4 > whole:
        return (scores > floor).nonzero().squeeze(1)
    inside = (chunks.unsqueeze(1) * CHUNK + torch.arange(CHUNK)).view(-1)
    candidates = torch.cat([inside, torch.arange(whole, scores.numel())])
    return candidates[scores[candidates] > floor]


def _best_of_rows(scores: Tensor, want: Tensor) -> tuple[Tensor, Tensor]:
    """(row, column) of the ``want[r]`` largest scores of each row; among equal ones the first win."""
    most = min(
        int(want.max()) + 1, scores.shape[1]
    )  # one more, to see whether the last one chosen has an equal left out
    best = _largest(scores, most)
    value, rank = scores.gather(1, best), torch.arange(most)
    last = value.gather(1, (want - 1).clamp(min=0).unsqueeze(1))
    after = value.gather(1, want.clamp(max=most - 1).unsqueeze(1))
    chosen = rank < want.unsqueeze(1)
    unclear = ((last == after).squeeze(1) & (want > 0) & (want < scores.shape[1])).nonzero().squeeze(1)
    if unclear.numel():  # a selection keeps any of equal ones
        tied = chosen[unclear] & (value[unclear] == last[unclear])
        columns = best[unclear]
        columns[tied] = _first_equal(scores, unclear, last[unclear], tied.sum(1))
        best[unclear] = columns
    row = torch.arange(want.numel()).unsqueeze(1).expand_as(best)
    return row[chosen], best[chosen]


def _first_equal(scores: Tensor, rows: Tensor, value: Tensor, need: Tensor) -> Tensor:
    """Columns of the first ``need[i]`` entries of row ``rows[i]`` that equal ``value[i]``, row after row."""
    found, begin = torch.empty(int(need.sum()), dtype=torch.int64), need.cumsum(0) - need
    waiting, width = torch.arange(rows.numel()), CHUNK
    while waiting.numel():  # look at a growing front part of the rows that have not enough yet
        equal = scores[rows[waiting], :width] == value[waiting]
        enough = equal.sum(1) >= need[waiting]
        ready, column = equal[enough].nonzero(as_tuple=True)
        owner = waiting[enough]
        counts = torch.bincount(ready, minlength=owner.numel())
        rank = torch.arange(ready.numel()) - (counts.cumsum(0) - counts)[ready]
        first = rank < need[owner][ready]
        found[begin[owner][ready[first]] + rank[first]] = column[first]
        waiting, width = waiting[~enough], 4 * width
    return found


@dataclass(frozen=True)
class TileScores:
    """Scores of every position of a layer, made a few rows at a time.

    Args:
        grid: Grid - the layer.
        rows: callable (lo, hi) -> [hi - lo, cols] float - non-negative unit scores of those rows, in memory of their
            own: they are overwritten.
        what: str - named in errors, e.g. "gradient of fc1".
    Cost: a pass costs what ``rows`` costs for the whole layer; memory is one tile plus what is selected.
    Source: streaming top-k in place of the dense gradient of RigL (Evci et al. 2020).
    """

    grid: Grid
    rows: Callable[[int, int], Tensor]
    what: str = "scores"

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """(position of the first entry, [rows, cols] scores) of each tile; raises NonFiniteError."""
        step = max(1, TILE // self.grid.cols)
        for lo in range(0, self.grid.rows, step):
            tile = self.rows(lo, min(lo + step, self.grid.rows))
            if not bool(torch.isfinite(tile.amax())):  # amax keeps NaN, and needs no mask of the tile's size
                raise NonFiniteError(
                    "topology update",
                    expected=f"finite {self.what}",
                    got="NaN or infinity",
                    hint="lower the learning rate or clip gradients; nothing was changed",
                )
            yield lo * self.grid.cols, tile

    def select(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """The best free positions of every bucket.

        Args:
            taken: [n], int64 - ascending positions that may not be chosen.
            want: [buckets], int64 - how many to choose in each bucket.
            bucket: int - positions per bucket: the layer, or a divisor of a row.
        Returns:
            [sum(want)], int64 - ascending.
        Cost: one pass; O(tile + chosen) memory.
        Example:
            >>> s = torch.tensor([[1., 9., 5.], [4., 2., 8.]])
            >>> t = TileScores(Grid(2, 3, 1, 1), lambda lo, hi: s[lo:hi].clone())
            >>> t.select(torch.tensor([1]), torch.tensor([2]), 6).tolist()  # the layer is one bucket
            [2, 5]
            >>> t.select(torch.tensor([1]), torch.tensor([1, 1]), 3).tolist()  # every row is one
            [2, 5]
        """
        pick = self._running if bucket == self.grid.size and self.grid.rows > 1 else self._per_bucket
        return pick(taken, want, bucket)

    def _free_tiles(self, taken: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Flat tiles in which taken positions score -1, below every real score."""
        for first, tile in self.tiles():
            lo, hi = torch.searchsorted(taken, torch.tensor([first, first + tile.numel()])).tolist()
            flat = tile.reshape(-1)
            flat[taken[lo:hi] - first] = -1.0
            yield first, flat

    def _per_bucket(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """Buckets that lie inside a tile are finished tile by tile."""
        # Filled in place: small results kept between the large tiles would leave the heap in splinters.
        chosen, done = torch.empty(int(want.sum()), dtype=torch.int64), 0
        for first, flat in self._free_tiles(taken):
            wanted = want[first // bucket : (first + flat.numel()) // bucket]
            row, column = _best_of_rows(flat.view(-1, bucket), wanted)
            part = column + row * bucket + first
            chosen[done : done + part.numel()] = part
            done += part.numel()
        return chosen.sort().values

    def _running(self, taken: Tensor, want: Tensor, bucket: int) -> Tensor:
        """One bucket over all tiles: keep the best so far and let later tiles beat its smallest."""
        k, held, floor = int(want[0]), 0, -0.5
        scores = positions = torch.empty(0)
        for first, flat in self._free_tiles(taken):
            if first == 0:  # the largest tile; room for it beside what is held, so that weeding out is rare
                scores = flat.new_empty(2 * k + flat.numel())
                positions = torch.empty(scores.numel(), dtype=torch.int64)
            better = _above(flat, floor)
            scores[held : held + better.numel()] = flat[better]
            positions[held : held + better.numel()] = better + first
            held += better.numel()
            if held > 2 * k:
                best = top_mask(scores[:held], k).nonzero().squeeze(1)
                scores[:k], positions[:k], held = scores[best], positions[best], k
                floor = float(scores[:k].min()) if k else inf
        return positions[:held][top_mask(scores[:held], min(k, held))]
