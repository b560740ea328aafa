"""One network in a process without torch: seconds until its first answer, and memory.

``python start_worker.py runtime|onnxruntime FILE SHAPE`` answers with JSON; SHAPE is that of one sample, numbers
between commas. One thread.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

CALLS = 5


def resident(kind: str) -> int:
    """Bytes in memory: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


def runtime(path: str) -> Any:
    """Ours."""
    from gossamer.runtime import Runtime

    return Runtime(path)


def onnxruntime(path: str) -> Any:
    """ONNX Runtime."""
    import onnxruntime as engine

    options = engine.SessionOptions()
    options.intra_op_num_threads = 1
    session = engine.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
