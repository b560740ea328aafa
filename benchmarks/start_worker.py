"""One network in a process without torch: processor seconds until its first answer, and memory.

``python start_worker.py runtime|onnxruntime FILE SHAPE`` answers with JSON; SHAPE is that of one sample, numbers
between commas. One thread.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

CALLS = 5
Load = Callable[[str], Callable[[Any], Any]]


def resident(kind: str) -> int:
    """Bytes in memory: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024


def ours() -> Load:
    """The runtime, imported; what was left to torch is NumPy's here."""
    from gossamer.runtime import Runtime

    return lambda path: Runtime(path, exact=False)


def others() -> Load:
    """ONNX Runtime, imported."""
    from onnxruntime import InferenceSession, SessionOptions

    def load(path: str) -> Callable[[Any], Any]:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})

    return load


def plan_bytes(network: Any) -> int:
    """What the plans of a runtime hold, without the weights."""
    steps = {id(step.run): step.run for program in network._programs for step in program.steps}  # noqa: SLF001
    return sum(getattr(step, "memory", 0) for step in steps.values())


WAYS = {"runtime": ours, "onnxruntime": others}


def main() -> None:
    """Import, load, answer, and answer again."""
    kind, path, shape = sys.argv[1], sys.argv[2], tuple(map(int, sys.argv[3].split(",")))
    seconds: dict[str, float] = {}
    memory: dict[str, int] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()  # of the processor: a busy machine makes the clock on the wall useless
        done = work()
        seconds[name], memory[name] = time.process_time() - began, resident("VmRSS")
        return done

    numpy = timed("numpy", lambda: import_module("numpy"))
    load = timed("import", WAYS[kind])
    network = timed("load", lambda: load(path))
    x = numpy.ones((1, *shape), "float32")
    timed("first_answer", lambda: network(x))
    timed("calls", lambda: [network(x) for _ in range(CALLS)])
    seconds["import"] += seconds.pop("numpy")
    seconds["call"] = seconds.pop("calls") / CALLS
    memory["peak"] = resident("VmHWM")
    if kind == "runtime":
        memory["plan"] = plan_bytes(network)
    rounded = len(getattr(network, "rounded", ()))
    print(
        json.dumps(
            {"seconds": seconds, "memory": memory, "rounded": rounded, "torch": "torch" in sys.modules}
        )
    )


if __name__ == "__main__":
    main()
