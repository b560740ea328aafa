"""The stage that rounds weights and what flows into layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gossamer.compress import quantize
from gossamer.recipes.stages.base import Stage, Work, stages

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress


@stages.register("quantize")
class Quantize(Stage):
    """``gossamer.quantize``; a stage that trains may follow, and ``freeze`` takes the same values.

    Args:
        values, activations, ranges, skip, at_least: as ``gossamer.quantize`` takes them.
        batches, batch: int - training batches of the calibration set, and samples in each.
    """

    values: str = "int8"
    activations: str = "int8"
    ranges: str = "mse"
    skip: tuple[str, ...] = ()
    at_least: float | None = None
    batches: Annotated[int, Field(ge=1, le=1 << 20)] = 4
    batch: Annotated[int, Field(ge=1, le=1 << 20)] = 128

    def run(self, work: Work, folder: Path, progress: Progress) -> str:
        """Quantize; nothing has to be kept, since the same again gives the same."""
        report = quantize(
            work.model,
            work.batches(self.batches, self.batch),
            values=self.values,
            activations=self.activations,
            ranges=self.ranges,
            skip=self.skip,
            at_least=self.at_least,
        )
        work.values = report.values
        return f"{len(report.layers)} layers, {self.values} values, {self.activations} inputs"
