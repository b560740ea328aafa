"""The stage that prunes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from gossamer.compress import compact, prune
from gossamer.compress.scores.base import score_of
from gossamer.nn.packed import Packed
from gossamer.recipes.stages.base import Stage, Work, stages

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress


@stages.register("prune")
class Prune(Stage):
    """One shot of ``gossamer.prune``.

    Args:
        density, pattern, score, allocation, skip, dense_first, dense_last, home: as ``gossamer.prune`` takes them.
        permute: bool - reorder outputs first, so that those with alike inputs share a group.
        batches, batch: int - training batches that a score looks at, and samples in each.
        recalibrate: int - training batches from which batch norms are made anew; 0 leaves them.
    """

    density: float | dict[str, float] | None = None
    pattern: str | None = None
    score: str = "magnitude"
    allocation: str | None = None
    skip: tuple[str, ...] = ()
    dense_first: bool = False
    dense_last: bool = False
    home: str = "packed"
    permute: bool = False
    batches: Annotated[int, Field(ge=1, le=1 << 20)] = 8
    batch: Annotated[int, Field(ge=1, le=1 << 20)] = 128
    recalibrate: Annotated[int, Field(ge=0, le=1 << 20)] = 0

    def run(self, work: Work, folder: Path, progress: Progress) -> str:
        """Prune; nothing has to be kept, since the same again gives the same."""
        work.teacher = work.teacher or copy.deepcopy(work.model)
        score = score_of(self.score)
        needs: dict[str, Any] = {"data": work.batches(self.batches, self.batch)} if score.needs else {}
        if self.permute:
            needs["permute"] = torch.zeros(1, *work.shape)
        if self.recalibrate:
            needs["recalibrate"] = work.batches(self.recalibrate, self.batch)
        report = prune(
            work.model,
            self.density,
            self.pattern,
            score=score,
            allocation=self.allocation,
            skip=self.skip,
            dense_first=self.dense_first,
            dense_last=self.dense_last,
            home=self.home,
            generator=torch.Generator().manual_seed(work.recipe.seed),
            **needs,
        )
        if any(isinstance(module, Packed) for module in work.model.modules()):
            compact(work.model)
        return f"{len(report.sparse)} layers to {report.sparse_density:.1%} by {self.score}"
