"""Peak resident memory of a command, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import GossamerError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The child of this script is the only one it ever has, so RUSAGE_CHILDREN is that child's own peak.
_WATCH = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([done.returncode, peak * unit, done.stdout, done.stderr]))
"""


@dataclass(frozen=True)
class Peak:
    """What a command needed.

    Args:
        peak_bytes: int - largest resident set of the process or of any process it waited for.
        stdout: str - what it printed.
    """

    peak_bytes: int
    stdout: str


def peak_memory(command: Sequence[str], timeout: float = 600.0) -> Peak:
    """Run a command in a child process and measure its peak resident memory.

    Args:
        command: program and arguments.
        timeout: float, seconds.

    Returns:
        Peak.

    Raises:
        GossamerError: the command failed; the message ends with what it wrote to stderr.
            subprocess.TimeoutExpired.

    Cost: two processes more. A process starts as a copy of its parent's pages, so the peak is never below
        that of a bare interpreter (about 10 MB).

    Example:
        >>> peak = peak_memory([sys.executable, "-c", "x = bytearray(50 << 20); print(len(x))"])
        >>> peak.peak_bytes > 50 << 20, peak.stdout.strip()
        (True, '52428800')
    """
    watch = [sys.executable, "-c", _WATCH, *command]
    done = subprocess.run(watch, capture_output=True, text=True, timeout=timeout, check=False)  # noqa: S603 (the caller's command)
    if done.returncode:
        raise GossamerError("peak_memory", expected="a command that can be started", got=done.stderr[-2000:])
    code, peak, stdout, stderr = json.loads(done.stdout)
    if code:
        raise GossamerError(
            "peak_memory", expected="a command that exits with 0", got=f"{code}: {stderr[-2000:]}"
        )
    return Peak(peak, stdout)
