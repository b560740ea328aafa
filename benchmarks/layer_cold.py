"""One layer forward, its weights out of cache, as in a network that is larger than the cache; pinned cores.

Every contender has copies of its weights and calls them in turns. All copies together are several times the
last-level cache, so that a copy has left it when its turn comes again. Input and code stay in cache. The whole grid
takes about ten minutes.
"""

from __future__ import annotations

import math
from typing import Any

from layer_calls import copy, forward
from layer_cases import SHAPES, Case, inputs_of, layers, run
from layer_rates import row
from layer_rivals import RIVALS
from layer_timing import cold

from gossamer.measure import machine

TIMES_CACHE = 4  # how often all copies together fill the last-level cache
LEFT_OUT = (
    "torch compile",
    "torch bfloat16",
    "DeepSparse",
)  # the last two hold one layer at a time, or are too slow


def cache_bytes() -> int:
    """Of the largest cache."""
    sizes = [size.removesuffix("K") for size in machine()["caches"].values() if size.endswith("K")]
    return 1024 * max(map(int, sizes))


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Times of all contenders that can hold several layers."""
    w, ours = layers(case["inputs"], case["outputs"], case["sparsity"])
    x = inputs_of(case["batch"], case["inputs"])
    rivals = {name: rival for name, rival in RIVALS.items() if name not in LEFT_OUT and rival.make(w, x)}
    round_bytes = sum(held.bytes for _, held in ours.values()) + sum(r.bytes(w) for r in rivals.values())
    number = range(
        1 + math.ceil(TIMES_CACHE * cache_bytes() / round_bytes)
    )  # whole rounds between two calls of a copy
    contenders = {name: [forward(copy(form), x) for _ in number] for name, (_, form) in ours.items()}
    contenders |= {name: [rival.make(w.clone(), x) for _ in number] for name, rival in rivals.items()}
    return row(cold(contenders, seconds), ours, w, case["batch"])


if __name__ == "__main__":
    run(
        "layer_cold",
        __doc__,
        measure,
        shapes=SHAPES,
        sparsities="80,87.5,90,95,99",
        batches="1,16",
        seconds=0.4,
    )
