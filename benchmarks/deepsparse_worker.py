"""DeepSparse in an environment of its own: reads requests, one a line, and answers each with a line.

``load MODEL INPUT THREADS`` reads a model as ONNX and its input as a NumPy array; ``run`` calls it and answers with the
seconds of a call; ``once`` calls it once; ``version`` is answered with DeepSparse's. A process of its own, because the
last DeepSparse needs older packages than this project.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import deepsparse
import numpy as np

SHORTEST_RUN = 50e-6  # seconds; the rule of gossamer.measure.alternate, which this environment does not have


def seconds(call: Callable[[], Any], calls: int) -> float:
    """Of one call, averaged over a run of ``calls``."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def load(model: str, given: str, threads: str) -> tuple[Callable[[], Any], int]:
    """A call, and how many of them make a run long enough for the clock."""
    x = np.load(given)
    engine = deepsparse.compile_model(model, batch_size=len(x), num_cores=int(threads))

    def call() -> Any:
        return engine.run([x])

    call()
    return call, max(1, math.ceil(SHORTEST_RUN / seconds(call, 1)))


def main() -> None:
    """Until there are no more requests."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the engine greets on standard output
    for line in sys.stdin:
        request, *words = line.split()
        if request == "load":
            call, calls = load(*words)
            answer = "loaded"
        elif request == "run":
            call()  # others ran since the last request: back into cache
            answer = str(seconds(call, calls))
        elif request == "once":
            call()
            answer = "done"
        else:
            answer = deepsparse.__version__
        answers.write(f"{answer}\n")


if __name__ == "__main__":
    main()
