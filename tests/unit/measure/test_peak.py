"""Peak memory of a command is that command's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gossamer.errors import GossamerError
from gossamer.measure import peak_memory

MB = 1 << 20


def test_peak_follows_what_is_allocated():
    small, large = (peak_memory([sys.executable, "-c", f"x = bytearray({n} << 20)"]) for n in (1, 200))
    assert 190 * MB < large.peak_bytes - small.peak_bytes < 210 * MB
    assert small.peak_bytes < 60 * MB


def test_our_own_memory_is_not_counted():
    ballast = bytearray(150 * MB)
    assert peak_memory([sys.executable, "-c", "pass"]).peak_bytes < 60 * MB
    del ballast


def test_output_and_failures():
    assert peak_memory([sys.executable, "-c", "print('hi')"]).stdout == "hi\n"
    with pytest.raises(GossamerError, match=r"(?s)exits with 0.*ZeroDivision"):
        peak_memory([sys.executable, "-c", "1 / 0"])
    with pytest.raises(GossamerError, match="can be started"):
        peak_memory(["/no/such/program"])
    with pytest.raises(subprocess.TimeoutExpired):
        peak_memory([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.5)
