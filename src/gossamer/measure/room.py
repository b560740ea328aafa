"""What memory this machine has left, and the refusal of what would not fit."""

from __future__ import annotations

import os
from pathlib import Path

from gossamer.errors import MemoryShortage

_SYSTEM = Path("/proc/meminfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def available_memory() -> int:
    """Bytes that this process could still get without swapping.

    Returns:
        int - what the system says is available, or what a control group leaves where that is less; all physical memory
        where the system does not say.

    Cost: three small files of the system.

    Example:
        >>> available_memory() > 1 << 20
        True
    """
    lines = _text(_SYSTEM).splitlines()
    said = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    free = said[0] if said else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (limit := _text(_LIMIT).strip()).isdigit():
        free = min(free, int(limit) - int(_text(_USED) or 0))
    return max(free, 0)


def require_memory(operation: str, needed: int, hint: str = "") -> None:
    """Refuse an operation that needs more memory than there is, before any of it is taken.

    Args:
        operation: str - for the message.
        needed: int - bytes.
        hint: str - what to do about it.

    Raises:
        MemoryShortage.

    Cost: that of `available_memory`.

    Example:
        >>> require_memory("demo", 1 << 60)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.MemoryShortage: demo: expected at most ... GB of memory, got a need of 1152921504.6 GB
    """
    if needed > (free := available_memory()):
        raise MemoryShortage(
            operation,
            expected=f"at most {free / 1e9:.1f} GB of memory",
            got=f"a need of {needed / 1e9:.1f} GB",
            hint=hint,
        )


def _text(path: Path) -> str:
    """A small file's text, or an empty string where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
