"""Where a command writes: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gossamer.errors import PluginWarning
from gossamer.runs.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.progress import Progress

NO_BREAK = "\u00a0"
PIPE_WIDTH = 120  # columns where stdout is no terminal


class Output:
    """The face of a running command.

    Args:
        as_json: bool - results are one JSON document on stdout.
        quiet: bool - no progress and no remarks.

    Example:
        >>> Output(as_json=True).result({"answer": 42}, lambda: "not shown")
        {"answer": 42}
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, document: Any, view: Callable[[], RenderableType]) -> None:
        """Print the one result of a command: JSON of the document, or its view for people."""
        if self.as_json:
            print(json.dumps(document, allow_nan=False), flush=True)
        else:
            console = Console(highlight=False)
            console.width = console.width if console.is_terminal else PIPE_WIDTH
            console.print(view())

    def remark(self, text: str) -> None:
        """Say something on stderr, unless quiet."""
        if not self.quiet:
            self._stderr.print(escape(text))

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Say what is wrong with plug-ins in a sentence, without a place in our code; also when quiet."""
        with warnings.catch_warnings():
            shown = warnings.showwarning

            def show(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                if issubclass(category, PluginWarning):
                    self._stderr.print(f"warning: {escape(str(message))}")
                else:
                    shown(message, category, filename, lineno, file, line)

            warnings.showwarning = show
            yield

    def failed(self, error: Exception) -> None:
        """Print an error as one sentence; with JSON also as a document on stdout."""
        said = str(error)
        if isinstance(error, OSError) and error.strerror and error.filename:  # of the system
            said = f"{error.filename}: {error.strerror}"
        sentence = " ".join(said.split())
        if self.as_json:
            print(json.dumps({"error": sentence, "kind": type(error).__name__}), flush=True)
        self._stderr.print(f"[bold red]error:[/] {escape(sentence)}")

    def progress(self) -> Progress:
        """A progress display on stderr; a context manager. Silent when quiet."""
        return progress_bar(self._stderr, quiet=self.quiet)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Group:
    """A table for the terminal; the first column is text, the others are numbers, which never wrap.

    Args:
        title: str.
        columns: names.
        rows: cells as plain text; markup in them is shown, not obeyed.
        caption: str.

    Returns:
        rich Group.

    Example:
        >>> len(table("t", ["layer", "bytes"], [["fc1", "12"]], "that is all").renderables)
        3
    """
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        made.add_column(escape(name), justify="right" if number else "left", vertical="bottom")
    for row in rows:
        made.add_row(escape(row[0]), *(escape(cell).replace(" ", NO_BREAK) for cell in row[1:]))
    below = [Text(caption)] if caption else []
    return Group(Text(title, style="bold"), made, *below)
