"""Rows of JSON that survive a kill: appended, cut back to a checkpoint, never half read."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from gossamer.errors import FormatError
from gossamer.storage import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Journal:
    r"""A .jsonl file whose rows carry their ``step``.

    Args:
        path: Path - made when the first row comes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "a.jsonl")
        >>> journal.append([{"step": 1}, {"step": 2}]); journal.cut(1); journal.path.read_text()
        '{"step": 1}\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows, on disk when this returns."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        if not text:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Forget rows after ``step``, and a last line that a kill cut short."""
        if not self.path.is_file():
            return
        text = self.path.read_text("utf-8")
        try:
            kept = [
                line
                for line in text[: text.rfind("\n") + 1].splitlines(True)
                if json.loads(line)["step"] <= step
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"resume {self.path}", expected="JSON rows with a step", got=repr(error)
            ) from None
        with atomic(self.path) as part:
            part.write_text("".join(kept), "utf-8")


def write_json(path: Path, document: Any) -> None:
    r"""Write a JSON document atomically; NaN and infinity are refused.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> target = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(target, {"a": 1}); target.read_text()
        '{\n  "a": 1\n}\n'
    """
    with atomic(path) as part:
        part.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", "utf-8")
