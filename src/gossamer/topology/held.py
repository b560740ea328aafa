"""The best so far of buckets that are looked at in pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.topology.passes import Selector

BELOW_ALL = -0.5  # below every score, above the mark of what is taken


class Held:
    """Scores that may still be among the best of their bucket, and their positions.

    Args:
        want: [buckets], int64 - how many each bucket will keep.
        bucket: int - positions per bucket.
        floors: [buckets], float64 - nothing below is looked at; `BELOW_ALL` looks at everything.
        selector: Selector - whose ``keep`` weeds out.
        room: int - units of the largest tile.
        ascending: bool - positions of a tile come after those of the one before: equals lose to what is held.
    Cost: 12 bytes (float32) for one and a half times what is wanted and for a tile.
    """

    def __init__(
        self, want: Tensor, bucket: int, floors: Tensor, selector: Selector, room: int, ascending: bool
    ) -> None:
        self.want, self.bucket, self.floors, self.selector, self.room = want, bucket, floors, selector, room
        self.ascending = ascending
        self.last = torch.full_like(want, -1)  # among equals of a full bucket's floor, earlier ones go before
        self.full, self.count = int(want.sum() * 3 / 2), 0
        self.scores, self.positions = torch.empty(0), torch.empty(0, dtype=torch.int64)

    def floor(self, first: int, after: int) -> float:
        """What a score must exceed to be of interest, for buckets with positions ``first .. after - 1``."""
        least = float(self.floors[first // self.bucket : -(-after // self.bucket)].min())
        if self.ascending or least == torch.inf or not self.scores.numel():
            return least
        numbers = torch.finfo(self.scores.dtype)
        # A little lower, for equals are of interest.
        return least * (1 - 2 * numbers.eps) if least > numbers.tiny / numbers.eps else BELOW_ALL

    def space(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Where scores and positions of the next tile go, whose scores are of a dtype."""
        if not self.scores.numel():
            self.scores = torch.empty(self.full + self.room, dtype=dtype)
            self.positions = torch.empty(self.full + self.room, dtype=torch.int64)
        return self.scores[self.count :], self.positions[self.count :]

    def add(self, scores: Tensor, positions: Tensor) -> None:
        """Take in scores that were written to the space, at positions of the layer."""
        if self.ascending:
            self.positions[self.count : self.count + positions.numel()] = positions
            self.count += positions.numel()
        else:
            self._take(scores, positions)
        if self.count > self.full:
            self._weed()

    def _take(self, scores: Tensor, positions: Tensor) -> None:
        """Take in those that are better than what full buckets hold."""
        at = slice(None) if self.want.numel() == 1 else positions.div(self.bucket, rounding_mode="floor")
        hopeful = (scores > self.floors[at].to(scores.dtype)) | (positions < self.last[at])
        chosen = hopeful.nonzero().squeeze(1)
        end = self.count + chosen.numel()
        self.scores[self.count : end] = scores[chosen]
        self.positions[self.count : end] = positions[chosen]
        self.count = end

    def best(self) -> Tensor:
        """The positions of the best of every bucket, ascending; fewer than wanted where a floor was too high."""
        self._weed()
        return self.positions[: self.count].clone()

    def _weed(self) -> None:
        """Bring the best of every bucket to the front, ascending, and raise the floors of those that are full."""
        if not self.ascending:
            # NumPy's sort takes less memory than torch's, and what lies there are ascending runs.
            order = torch.from_numpy(self.positions[: self.count].numpy().argsort(kind="stable"))
            self.positions[: self.count] = self.positions[order]
            self.scores[: self.count] = self.scores[order]
            del order
        edges = torch.arange(self.want.numel() + 1) * self.bucket
        ends, done = torch.searchsorted(self.positions[: self.count], edges).tolist(), 0
        for number, want in enumerate(self.want.tolist()):
            here = slice(ends[number], ends[number + 1])
            scores, places = self.scores[here], self.positions[here]
            k = min(want, scores.numel())
            least = self.selector.keep(scores, places, k)
            if k == want:
                self.floors[number] = least if k else torch.inf
                self.last[number] = places[:k][scores[:k] == least].max() if k else -1
            if here.start > done:  # to the left, over what was weeded out
                scores, places = scores[:k].clone(), places[:k].clone()
            self.scores[done : done + k], self.positions[done : done + k] = scores[:k], places[:k]
            done += k
        self.count = done
