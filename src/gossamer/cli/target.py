"""Files that a command writes where its user says: what is not ours is not replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import ConfigError
from gossamer.storage import target_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def check_target(path: Path, kind: str, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a path that could not be written, or where a file of someone else stands; asked before any work is done.

    Args:
        path: Path.
        kind: str - what will be written, and may be replaced.
        is_ours: callable (Path) -> bool - whether a file is of that kind.

    Raises:
        ConfigError: a folder, a device, a foreign file. PermissionError: a protected file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> check_target(Path(tempfile.mkdtemp()) / "new.html", "report", lambda path: False)
    """
    target = target_of(path)
    if target.exists() and target.stat().st_size and not is_ours(target):
        raise ConfigError(
            f"write {path}",
            expected=f"a new file, or a {kind} of Gossamer to replace",
            got="a file of another kind",
            hint="choose another --out, or delete it yourself",
        )
