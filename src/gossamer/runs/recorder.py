"""Writes a training into its run folder: rows, checkpoints, TensorBoard events, and the summary."""

from __future__ import annotations

import time
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Any

from gossamer.nn.connections import topologies
from gossamer.nn.sparse import SparseModule
from gossamer.runs import record
from gossamer.runs.build import sample_shape
from gossamer.runs.facts import layer_facts
from gossamer.runs.journal import Journal, write_json
from gossamer.runs.kept import forget, is_due, keep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gossamer.runs.loop import Loop, Row

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Timer:
    """Says when a checkpoint is due: every so many steps, if that is wanted, and every 30 seconds.

    Args:
        every: int or None - steps.
    """

    def __init__(self, every: int | None) -> None:
        self._every, self._saved_at = every, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after this step."""
        by_steps = self._every is not None and step % self._every == 0
        return by_steps or time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS

    def saved(self) -> None:
        """Begin again."""
        self._saved_at = time.monotonic()


class Recorder:
    """A Watcher that keeps a run folder; whatever kills the process, the folder can be resumed.

    Rows are on disk before the checkpoint that follows them, and resuming forgets the rows after it:
    the folder of a resumed run ends up as that of an uninterrupted one, times aside.

    Args:
        folder: Path - from ``gossamer.runs.folder``.
        loop: Loop - fresh; it is moved to the last checkpoint if there is one.
        checkpoint_every: int or None - also save every so many steps.
        told: called after every step and epoch with (loop, row or None), for progress displays.

    Raises:
        FormatError: a damaged checkpoint or row.
    """

    def __init__(
        self,
        folder: Path,
        loop: Loop,
        checkpoint_every: int | None = None,
        told: Callable[[Loop, Row | None], None] = lambda _loop, _row: None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.told = folder, told
        self.metrics = Journal(folder / record.METRICS)
        self.topology = Journal(folder / record.TOPOLOGY)
        self.pixels = Journal(folder / record.PIXELS)
        last = folder / record.LAST
        if last.is_file():
            loop.restore(last)
        for journal in (self.metrics, self.topology, self.pixels):
            journal.cut(loop.step if last.is_file() else -1)
        forget(folder, after=loop.step if last.is_file() else -1)
        self.changes_written = len(loop.engine.history) if loop.engine else 0
        self.events = SummaryWriter(
            str(folder / record.TENSORBOARD), purge_step=loop.step + 1, filename_suffix=record.EVENTS
        )
        self.timer = Timer(checkpoint_every)
        if not last.is_file():
            self._snapshot(loop)
            self._save(loop)

    def after_step(self, loop: Loop) -> None:
        """Save where it is time to."""
        if self.timer.due(loop.step):
            self._save(loop)
        self.told(loop, None)

    def after_epoch(self, loop: Loop, row: Row) -> None:
        """Write the epoch's rows, the best checkpoint so far, and the last."""
        self.metrics.append([row])
        self._snapshot(loop)
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr"):
            self.events.add_scalar(name, row[name], row["step"])
        if loop.best["epoch"] == row["epoch"]:
            loop.save(self.folder / record.BEST)
        self._save(loop)
        self.told(loop, row)

    def finish(self, loop: Loop) -> dict[str, Any]:
        """Write and return the summary of a finished training."""
        self.events.close()
        metrics = record.read_run(self.folder).metrics
        summary = {
            "accuracy": metrics[-1].test_accuracy,
            "best": loop.best,
            "epochs": loop.epoch,
            "steps": loop.step,
            "seconds": round(loop.seconds, 3),
            "layers": layer_facts(loop.model, sample_shape(loop.config, loop.samples.shape)),
        }
        write_json(self.folder / record.SUMMARY, summary)
        return summary

    def _save(self, loop: Loop) -> None:
        """Rows of topology changes first, then the checkpoint."""
        history = loop.engine.history if loop.engine else []
        new = [asdict(change) for change in history[self.changes_written :]]
        self.topology.append(new)
        self.changes_written = len(history)
        for change in new:
            for name in ("dropped", "grown", "active"):
                self.events.add_scalar(f"{change['layer']}/{name}", change[name], change["step"])
        loop.save(self.folder / record.LAST)
        self.timer.saved()

    def _snapshot(self, loop: Loop) -> None:
        """Topologies where they are due, and connections that leave each pixel, if a sparse layer reads the image."""
        if is_due(loop.config, loop.epoch):
            keep(self.folder, loop.step, topologies(loop.model))
        first = next(iter(loop.model.children()))
        if isinstance(first, SparseModule) and first.shape[1] == prod(loop.samples.shape):
            self.pixels.append([{"step": loop.step, "fan_out": first.topology.fan_out().tolist()}])
