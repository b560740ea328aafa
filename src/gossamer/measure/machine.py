"""The fingerprint of the machine a number was measured on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

INSTRUCTION_SETS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "neon", "asimd", "sve")
_CPU = Path("/sys/devices/system/cpu/cpu0")


def machine() -> dict[str, Any]:
    """What a measurement has to say about where it was made.

    Returns:
        dict, ready for JSON: cpu, cores, instruction_sets, caches, governor ("" where unknown), os,
        python, torch, numpy, threads.

    Cost: a few small files of the system.

    Example:
        >>> sorted(machine())[:4]
        ['caches', 'cores', 'cpu', 'governor']
    """
    import numpy as np
    import torch

    info = _cpu_info()
    flags = set((info.get("flags") or info.get("features") or "").split())
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "caches": _caches(),
        "governor": _text(_CPU / "cpufreq" / "scaling_governor"),
        "os": f"{platform.system()} {platform.machine()}",
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
    }


def _cpu_info() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo, keys in lower case; empty without such a file."""
    pairs = (line.partition(":") for line in _text(Path("/proc/cpuinfo")).split("\n\n")[0].splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _caches() -> dict[str, str]:
    """Level and kind -> size, e.g. ``{"L1 Data": "32K"}``."""
    entries = sorted((_CPU / "cache").glob("index*"))
    return {f"L{_text(entry / 'level')} {_text(entry / 'type')}": _text(entry / "size") for entry in entries}


def _text(path: Path) -> str:
    """A small file's text, or an empty string where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
