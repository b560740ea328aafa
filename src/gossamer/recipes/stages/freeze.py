"""The stage that freezes: a file to ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field

from gossamer.freezing import freeze, load, save
from gossamer.recipes.stages.base import Stage, Work, stages
from gossamer.runs import record

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress


@stages.register("freeze")
class Freeze(Stage):
    """``gossamer.freeze`` into ``network.safetensors``; the last stage.

    Args:
        batches: ints - batch sizes to be fast at.
        keep, values, compute, prefer: as ``gossamer.freeze`` takes them; without ``values`` those of a ``quantize``
            before it, or exact.
    """

    last: ClassVar[bool] = True
    batches: tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...] = (1,)
    keep: str = "fastest"
    values: str | None = None
    compute: str = "float32"
    prefer: str = "speed"

    def run(self, work: Work, folder: Path, progress: Progress) -> str:
        """Freeze, and save."""
        values = self.values or work.values
        sizes = tuple(sorted(set(self.batches)))
        example = torch.randn(sizes[-1], *work.shape, generator=torch.Generator().manual_seed(0))
        frozen = freeze(
            work.model.eval(),
            example,
            keep=self.keep,
            batch_sizes=sizes,
            values=values,
            compute=self.compute,
            prefer=self.prefer,
        )
        work.file = folder / record.NETWORK
        save(frozen, work.file)
        work.model = frozen
        kinds = values if isinstance(values, str) else ", ".join(sorted(set(values.values())))
        return f"{kinds} values, {work.file.stat().st_size:,} bytes in {work.file.name}"

    def again(self, work: Work, folder: Path, progress: Progress) -> None:
        """The file."""
        work.file = folder / record.NETWORK
        work.model = load(work.file)
