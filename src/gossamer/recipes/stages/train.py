"""The stage that trains: what is left learns again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from gossamer import rules
from gossamer.errors import ConfigError
from gossamer.recipes.stages.base import Stage, Work, stages
from gossamer.runs import record
from gossamer.runs.config import DistillLoss, OptimizerConfig, ScheduleConfig
from gossamer.runs.execute import record as train
from gossamer.runs.folder import open_folder
from gossamer.runs.loop import Loop
from gossamer.runs.teacher import taught_by
from gossamer.training import Engine, join

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress
    from torch import nn

    from gossamer.distillation import Distillation
    from gossamer.runs.config import RunConfig
    from gossamer.runs.samples import Source


@stages.register("train")
class Train(Stage):
    """A training of the model as it is: connections that are gone stay gone, unless a rule grows others.

    Args:
        epochs, batch, optimizer, schedule, label_smoothing: as in ``RunConfig``.
        distill: temperature, alpha, features, layers, weight - learn from the network as it was before it was pruned.
        rule: dict or None - ``name`` and settings of a rule that changes connections meanwhile.
    """

    epochs: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 128
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.01)
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    distill: DistillLoss | None = None
    rule: dict[str, Any] | None = None

    def run(self, work: Work, folder: Path, progress: Progress) -> str:
        """Train from the last checkpoint in the folder, or from the start."""
        loop = self._loop(work)
        open_folder(folder, loop.config, work.samples)
        summary = train(folder, loop, progress, "train")
        work.model.eval()
        return f"{self.epochs} epoch{'s' * (self.epochs > 1)}, best {100 * summary['best']['accuracy']:.2f} %"

    def again(self, work: Work, folder: Path, progress: Progress) -> None:
        """The last checkpoint."""
        self._loop(work).restore(folder / record.LAST)
        work.model.eval()

    def _loop(self, work: Work) -> Tuning:
        settings = {name: getattr(self, name) for name in ("epochs", "batch", "label_smoothing")}
        config = work.recipe.config(
            **settings, optimizer=self.optimizer.model_dump(), schedule=self.schedule.model_dump()
        )
        rule = None if self.rule is None else rules.build(self.rule)
        if self.distill is not None and work.teacher is None:
            raise ConfigError(
                "stage train",
                expected="a stage that prunes before one with distill",
                got="none",
                hint="leave distill out",
            )
        return Tuning(config, work.samples, work.model, rule, self.distill, work.teacher)


class Tuning(Loop):
    """A training of a model that is there already.

    Args:
        config: RunConfig - of the dense model.
        samples: Source.
        model: nn.Module.
        rule: Rule or None.
        loss: DistillLoss or None.
        teacher: nn.Module or None - for ``loss``.
    """

    def __init__(
        self,
        config: RunConfig,
        samples: Source,
        model: nn.Module,
        rule: rules.Rule | None,
        loss: DistillLoss | None,
        teacher: nn.Module | None,
    ) -> None:
        self._given, self._rule, self._loss, self._teacher = model, rule, loss, teacher
        super().__init__(config, samples)

    def _built(self) -> nn.Module:
        return self._given

    def _taught(self) -> Distillation | None:
        if self._loss is None or self._teacher is None:
            return None
        return taught_by(self._teacher, self._loss, self.config, self.samples, self.model)

    def _attached(self) -> Engine | None:
        if self._rule is None:
            return None
        return join(self.model, self.optimizer, self._rule, total_steps=self.total, seed=self.config.seed)
