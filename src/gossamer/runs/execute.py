"""Runs a training in its folder under a progress bar; what ``train`` and ``demo`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.runs.loop import Loop, Row
from gossamer.runs.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.progress import Progress

    from gossamer.runs.config import RunConfig
    from gossamer.runs.samples import Source


def execute(
    folder: Path,
    config: RunConfig,
    samples: Source,
    progress: Progress,
    label: str = "training",
    checkpoint_every: int | None = None,
) -> dict[str, Any]:
    """Train from wherever the run folder stands to the end.

    Args:
        folder: Path - from ``begin`` or ``reopen``.
        config: RunConfig - from there too.
        samples: Source - from there too.
        progress: rich Progress - gets one bar; its console a line an epoch where it is no terminal.
        label: str - in front of the bar.
        checkpoint_every: int or None - also save every so many steps.

    Returns:
        dict - the summary, which is also on disk.

    Raises:
        NonFiniteError: the training diverged. FormatError: a damaged checkpoint.
    Cost: the training.
    """
    return record(folder, Loop(config, samples), progress, label, checkpoint_every)


def record(
    folder: Path,
    loop: Loop,
    progress: Progress,
    label: str = "training",
    checkpoint_every: int | None = None,
    together: Callable[[str, Callable[[], Recorder]], Recorder] = lambda _what, make: make(),
) -> dict[str, Any]:
    """The same for a loop that is built already.

    Args:
        folder: Path - from ``begin`` or ``reopen``.
        loop: Loop - fresh.
        progress: rich Progress - gets one bar; its console a line an epoch where it is no terminal.
        label: str - in front of the bar.
        checkpoint_every: int or None - also save every so many steps.
        together: callable (what, action) - how the loop is moved to its checkpoint where other processes wait for it.

    Returns:
        dict - the summary, which is also on disk.
    """
    bar = progress.add_task(label, total=loop.total, note="")
    reached = ""

    def told(loop: Loop, row: Row | None) -> None:
        nonlocal reached
        if row is not None:
            reached = f", {100 * row['test_accuracy']:.2f} %"
        now, loss = (loop.epoch + 1, loop.so_far.mean) if row is None else (row["epoch"], row["train_loss"])
        note = f"epoch {now} of {loop.config.epochs}, loss {loss:.3f}{reached}"
        progress.update(bar, completed=loop.step, note=note)
        if row is not None and not progress.console.is_terminal:  # a log file holds lines, and no bar
            progress.console.print(f"{label}: {note}, {row['seconds']:.1f} s")

    if said := _idle(loop):
        progress.console.print(f"{label}: {said}")
    recorder = together("resume", lambda: Recorder(folder, loop, checkpoint_every, told))
    progress.update(bar, completed=loop.step)
    loop.run(recorder)
    return recorder.finish(loop)


def _idle(loop: Loop) -> str:
    """What to say of a rule, where the training is too short for it; else nothing."""
    if loop.engine is None:
        return ""
    topologies = [layer.encoded for layer in loop.engine.layers.values()]
    return loop.engine.rule.idle(loop.total, topologies)
