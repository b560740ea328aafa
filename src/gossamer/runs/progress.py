"""The progress bar of a training."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console, *, quiet: bool) -> Progress:
    """A progress display; a context manager. Silent when quiet or without a terminal.

    Args:
        console: Console - where it is drawn.
        quiet: bool - draw nothing.

    Example:
        >>> progress_bar(Console(stderr=True), quiet=True).disable
        True
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
