"""A progress bar for ``verbose``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr that moves by one for every call, with a note beside it; nothing where it is not shown.

    Args:
        total: int - calls that fill it.
        shown: bool.

    Example:
        >>> with progress(2, shown=False) as tell:
        ...     tell("loss 0.5")
    """
    if not shown:
        yield lambda _note: None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("epochs", total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note)
