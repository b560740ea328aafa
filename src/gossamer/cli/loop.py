"""The training loop: can stop after any step and go on with the same bits."""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer import data
from gossamer.cli.build import Samples, build_engine, build_model, build_optimizer, learning_rate
from gossamer.errors import FormatError
from gossamer.training import Extras, load_checkpoint, save_checkpoint, train_step

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.cli.config import RunConfig

EVALUATION_BATCH = 1000
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
        samples: Samples.

    Raises:
        ConfigError, DensityError, PatternError: a configuration that cannot be built.

    Example:
        >>> from gossamer.cli.build import load_samples
        >>> from gossamer.cli.config import RunConfig
        >>> loop = Loop(RunConfig(widths=(16,), density=0.5, epochs=1), load_samples("digits"))
        >>> loop.total, loop.step
        (15, 0)
    """

    def __init__(self, config: RunConfig, samples: Samples) -> None:
        self.config, self.samples = config, samples
        self.per_epoch = ceil(len(samples.x_train) / config.batch)
        self.total = self.per_epoch * config.epochs
        torch.manual_seed(config.seed)  # the state rides in checkpoints, and has to be the run's own
        self.model: nn.Module = build_model(config, samples.x_train.shape[1], samples.classes)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        self.engine = build_engine(config, self.model, self.optimizer, self.total)
        self.step = 0
        self.loss_sum, self.right, self.seen = 0.0, 0, 0  # of the epoch under way
        self.best: Row = {"epoch": 0, "accuracy": 0.0}
        self.seconds = 0.0

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.per_epoch

    def run(self, watcher: Watcher) -> None:
        """Train to the end from wherever the loop stands.

        Args:
            watcher: Watcher.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        Cost: the training; one evaluation of the test set an epoch.
        """
        torch.set_num_threads(self.config.threads or torch.get_num_threads())
        self.model.train()
        x, y = self.samples.x_train, self.samples.y_train
        while self.step < self.total:
            order = data.epoch_generator(self.config.seed, self.epoch)
            start = self.step % self.per_epoch
            for pair in data.batches(x, y, self.config.batch, order, start=start):
                began = time.perf_counter()
                self._train_step(*pair)
                self.seconds += time.perf_counter() - began
                if self.step % self.per_epoch:
                    watcher.after_step(self)
            watcher.after_epoch(self, self._finish_epoch())

    def _train_step(self, x: Tensor, y: Tensor) -> None:
        """One optimizer step."""
        rate = learning_rate(
            self.config.optimizer, self.config.schedule, self.step, self.total, self.per_epoch
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        value, output = train_step(self.model, self.optimizer, x, y, F.cross_entropy, self.step + 1)
        self.step += 1
        self.loss_sum += value * len(y)
        self.right += int((output.argmax(1) == y).sum())
        self.seen += len(y)

    def _finish_epoch(self) -> Row:
        """Evaluate, remember the best, start counting afresh; the row of metrics."""
        test_loss, accuracy = evaluate(self.model, self.samples.x_test, self.samples.y_test)
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "train_loss": self.loss_sum / self.seen,
            "train_accuracy": self.right / self.seen,
            "test_loss": test_loss,
            "test_accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }
        self.loss_sum, self.right, self.seen = 0.0, 0, 0
        if accuracy > self.best["accuracy"]:
            self.best = {"epoch": self.epoch, "accuracy": accuracy}
        return row

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill while writing leaves the one before."""
        progress = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "right": self.right,
            "seen": self.seen,
            "best": self.best,
            "seconds": self.seconds,
        }
        save_checkpoint(path, self.model, self.optimizer, self.engine, Extras(progress=progress))

    def restore(self, path: Path) -> None:
        """Stand where a checkpoint was written; raises FormatError or ConfigError where it cannot."""
        progress = load_checkpoint(path, self.model, self.optimizer, self.engine)
        try:
            self.step, self.right, self.seen = (int(progress[name]) for name in ("step", "right", "seen"))
            self.loss_sum, self.seconds = float(progress["loss_sum"]), float(progress["seconds"])
            best = progress["best"]
            self.best = {"epoch": int(best["epoch"]), "accuracy": float(best["accuracy"])}
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"resume from {path}", expected="a checkpoint of this command", got=repr(error)
            ) from None
        if not 0 <= self.step <= self.total:
            raise FormatError(
                f"resume from {path}", expected=f"a step up to {self.total}", got=str(self.step)
            )


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy of a model; it is left in training mode if it was.

    Args:
        model: nn.Module.
        x: [n, features].
        y: [n], int64.

    Returns:
        (loss, accuracy).

    Example:
        >>> evaluate(nn.Identity(), torch.eye(3), torch.arange(3))[1]
        1.0
    """
    training = model.training
    model.eval()
    loss, right = 0.0, 0
    for part, labels in data.batches(x, y, EVALUATION_BATCH, shuffle=False):
        output = model(part)
        loss += F.cross_entropy(output, labels, reduction="sum").item()
        right += int((output.argmax(1) == labels).sum())
    model.train(training)
    return loss / len(y), right / len(y)
