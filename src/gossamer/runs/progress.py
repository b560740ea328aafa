"""The progress bar of a training."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console, *, quiet: bool) -> Progress:
    """A progress display; a context manager. A bar where there is a terminal, nothing of its own elsewhere.

    Args:
        console: Console - where it is drawn.
        quiet: bool - draw nothing, and print nothing on its console.

    Example:
        >>> progress_bar(Console(stderr=True), quiet=True).disable
        True
    """
    console = Console(quiet=True) if quiet else console
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
