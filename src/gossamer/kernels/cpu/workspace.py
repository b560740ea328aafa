"""Memory between the layers of chains: one a thread, whatever the number of chains."""

from __future__ import annotations

import ctypes
import threading
from typing import Final


class Workspace(threading.local):
    """Memory between the layers of any chain, one at a time: a thread has one, which grows and never shrinks."""

    room = bytearray(64)
    bytes = 0

    def of(self, size: int) -> tuple[int, int]:
        """Where its first whole cache line begins, and its bytes: as many as these at least."""
        if size > self.bytes:
            self.room, self.bytes = bytearray(size + 64), size
        at = ctypes.addressof(ctypes.c_char.from_buffer(self.room))
        return (at + 63) // 64 * 64, self.bytes


workspace: Final = Workspace()


def workspace_bytes() -> int:
    """Bytes that the calling thread keeps between layers, for all chains together.

    Example:
        >>> workspace_bytes() >= 0
        True
    """
    return workspace.bytes
