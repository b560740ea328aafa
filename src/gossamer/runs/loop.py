"""The training loop: can stop after any step and go on with the same bits."""

from __future__ import annotations

import time
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from gossamer.compress import compact
from gossamer.errors import ConfigError, FormatError
from gossamer.runs import record
from gossamer.runs.build import build_engine, build_model, build_optimizer, learning_rate
from gossamer.runs.teacher import distillation_of
from gossamer.training import Extras, Note, answers, load_checkpoint, save_checkpoint, train_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gossamer.distillation import Distillation
    from gossamer.runs.config import RunConfig
    from gossamer.runs.samples import Source
    from gossamer.training import Engine

Row = dict[str, Any]


class Watcher(Protocol):
    """What is told about a training."""

    def after_step(self, loop: Loop) -> None:
        """After every optimizer step; may save a checkpoint."""

    def after_epoch(self, loop: Loop, row: Row) -> None:
        """After every epoch, with its metrics; ``loop`` stands at the start of the next."""


class Loop:
    """One training: model, optimizer and engine, and where it stands.

    The order of the data depends on (seed, epoch), the learning rate on the step, and the engine draws from
    (seed, step, layer): a checkpoint and three integers are all there is to resume.

    Args:
        config: RunConfig.
        samples: Source.

    Raises:
        ConfigError, DensityError, PatternError: a configuration that cannot be built.

    Example:
        >>> from gossamer.runs.samples import load_samples
        >>> from gossamer.runs.config import RunConfig
        >>> loop = Loop(RunConfig(widths=(16,), density=0.5, epochs=1), load_samples("digits"))
        >>> loop.total, loop.step
        (15, 0)
    """

    part, parts = 0, 1  # of the training samples, where several processes share them

    def __init__(self, config: RunConfig, samples: Source) -> None:
        self.config, self.samples = config, samples
        self.per_epoch = self._steps_per_epoch()
        self.total = self.per_epoch * config.epochs
        torch.manual_seed(config.seed)  # the state rides in checkpoints, and has to be the run's own
        self.model: nn.Module = self._built()
        self._check_batches()
        self.forward = self._wrapped(self.model)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        self.engine = self._attached()
        self.distillation = self._taught()
        self.step = 0
        self.so_far = Note()  # of the epoch under way
        self.best: Row = {"epoch": 0, "accuracy": 0.0}
        self.seconds = 0.0

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.per_epoch

    def _built(self) -> nn.Module:
        """The network that is trained."""
        return build_model(self.config, self.samples.shape, self.samples.classes)

    def _taught(self) -> Distillation | None:
        """The loss, where there is a teacher."""
        return distillation_of(self.config, self.samples, self.model)

    def _check_batches(self) -> None:
        """Refuse a batch of one sample where batch norm takes means over a batch; raises ConfigError."""
        workers = self.config.parallel.workers if self.config.parallel else 1
        mine, batch = self.samples.count // workers, self.config.batch
        norms = [name for name, module in self.model.named_modules() if isinstance(module, _BatchNorm)]
        if norms and 1 in (batch, mine % batch):
            raise ConfigError(
                "train",
                expected=f"at least two samples in every batch, for {norms[0]} and other batch norms",
                got=f"a last batch of one: {mine} samples in batches of {batch}",
                hint="choose another batch",
            )

    # --- what training with several processes does otherwise; see gossamer.runs.modes ---------------------------
    def _steps_per_epoch(self) -> int:
        return ceil(self.samples.count // self.parts / self.config.batch)

    def _wrapped(self, model: nn.Module) -> nn.Module:
        """What computes the output in training."""
        return model

    def _attached(self) -> Engine | None:
        """The engine of the rule."""
        return build_engine(self.config, self.model, self.optimizer, self.total)

    def _rate(self) -> float:
        """Learning rate of the coming step."""
        return learning_rate(
            self.config.optimizer, self.config.schedule, self.step, self.total, self.per_epoch
        )

    def _shared(self, note: Note) -> Note:
        """The note of a step, over all processes."""
        return note

    def _advance(self, note: Note) -> None:
        """Use the gradients."""
        self.optimizer.step()

    def _threads(self) -> int:
        return self.config.threads or torch.get_num_threads()

    def _give_back(self) -> None:
        """Free the memory of connections that the rule removed for good."""
        if self.engine and self.engine.rule.count == "shrinks" and self.config.home == "packed":
            compact(self.model, self.optimizer)

    def _workers(self) -> list[int]:
        """Steps of every worker, where there are several processes."""
        return []

    def _resumed(self, workers: list[int]) -> None:
        """Where every worker stood."""

    def resume(self, folder: Path, checkpoint_every: int | None) -> None:
        """Stand where the last checkpoint of a run folder was written, where another process keeps the folder."""
        if (last := folder / record.LAST).is_file():
            self.restore(last)

    # --- what all do -------------------------------------------------------------------------------------------
    def run(self, watcher: Watcher | None) -> None:
        """Train to the end from wherever the loop stands.

        Args:
            watcher: Watcher or None - None: another process tells the story; nothing is evaluated.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        Cost: the training; one evaluation of the test set an epoch.
        """
        torch.set_num_threads(self._threads())
        self.model.train()
        while self.step < self.total:
            for note in self._epoch():
                self.step += 1
                self.so_far = self.so_far.plus(note)
                if watcher and self.step % self.per_epoch:
                    watcher.after_step(self)
            row = self._finish_epoch() if watcher else {}
            self.so_far = Note()
            self._give_back()
            if watcher:
                watcher.after_epoch(self, row)

    def _epoch(self) -> Iterator[Note]:
        """Take the steps that are left of an epoch, and tell of each."""
        start = self.step % self.per_epoch
        for pair in self.samples.training(self.config, self.epoch, start, self.part, self.parts):
            began = time.perf_counter()
            note = self._train_step(*pair)
            self.seconds += time.perf_counter() - began
            yield note

    def _set_rate(self) -> None:
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _train_step(self, x: Tensor, y: Tensor) -> Note:
        """One optimizer step."""
        self._set_rate()
        return train_step(
            self.forward,
            self.optimizer,
            x,
            y,
            self._compared(x),
            self.step + 1,
            right=answers,
            shared=self._shared,
            advance=self._advance,
        )

    def _compared(self, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of outputs and labels of a batch."""
        if (distillation := self.distillation) is None:
            return partial(F.cross_entropy, label_smoothing=self.config.label_smoothing)
        return lambda output, y: distillation(output, y, x)

    def _finish_epoch(self) -> Row:
        """Evaluate, and remember the best; the row of metrics."""
        test_loss, accuracy = evaluate(self.model, self.samples.testing())
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.so_far.mean,
            "train_accuracy": self.so_far.right / self.so_far.samples,
            "test_loss": test_loss,
            "test_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }
        if accuracy > self.best["accuracy"]:
            self.best = {"epoch": self.epoch, "accuracy": accuracy}
        return row

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill while writing leaves the one before."""
        if self.distillation and self.distillation.cache:
            self.distillation.cache.flush()  # first: the steps after a checkpoint find what they found before a kill
        progress = {
            "step": self.step,
            "loss_sum": self.so_far.loss,
            "right": int(self.so_far.right),
            "seen": int(self.so_far.samples),
            "best": self.best,
            "seconds": self.seconds,
            "workers": self._workers(),
        }
        save_checkpoint(path, self.model, self.optimizer, self.engine, Extras(progress=progress))

    def restore(self, path: Path) -> None:
        """Stand where a checkpoint was written; raises FormatError or ConfigError where it cannot."""
        progress = load_checkpoint(path, self.model, self.optimizer, self.engine)
        try:
            self.step, right, seen = (int(progress[name]) for name in ("step", "right", "seen"))
            self.so_far = Note(float(progress["loss_sum"]), right, seen)
            self.seconds = float(progress["seconds"])
            best, workers = progress["best"], progress.get("workers", [])
            self.best = {"epoch": int(best["epoch"]), "accuracy": float(best["accuracy"])}
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"resume from {path}", expected="a checkpoint of this command", got=repr(error)
            ) from None
        if len(workers) != (wanted := len(self._workers())):
            raise ConfigError(
                f"resume from {path}",
                expected=f"a checkpoint of {wanted} workers",
                got=f"one of {len(workers)}",
            )
        self._resumed(workers)
        if not 0 <= self.step <= self.total:
            raise FormatError(
                f"resume from {path}", expected=f"a step up to {self.total}", got=str(self.step)
            )


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean loss and accuracy of a model; it is left in training mode if it was.

    Args:
        model: nn.Module.
        batches: of samples as the model reads them, and int64 labels.

    Returns:
        (loss, accuracy).

    Example:
        >>> evaluate(nn.Identity(), [(torch.eye(3), torch.arange(3))])[1]
        1.0
    """
    training = model.training
    model.eval()
    loss, right, seen = 0.0, 0, 0
    for part, labels in batches:
        output = model(part)
        seen += len(labels)
        loss += F.cross_entropy(output, labels, reduction="sum").item()
        right += answers(output, labels)
    model.train(training)
    return loss / seen, right / seen
