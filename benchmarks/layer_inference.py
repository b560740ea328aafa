"""One layer forward, each pattern beside every rival on the same numbers, in turns, weights in cache; pinned cores.

Everyone gets a batch-major input, as a caller has it. The whole grid takes half an hour, estimated from parts.
"""

from __future__ import annotations

from typing import Any

from accuracy import exact_of, with_errors
from layer_calls import forward
from layer_cases import SHAPES, Case, inputs_of, layers, run
from layer_rates import row
from layer_rivals import RIVALS
from layer_timing import warm


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Times of all contenders, what they execute and hold, and how far off they are."""
    w, ours = layers(case["inputs"], case["outputs"], case["sparsity"])
    x = inputs_of(case["batch"], case["inputs"])
    rivals = {name: call for name, rival in RIVALS.items() if (call := rival.make(w, x)) is not None}
    calls = {**{name: forward(form, x) for name, (_, form) in ours.items()}, **rivals}
    measured = row(warm(calls, seconds), ours, w, case["batch"])
    return with_errors(measured, calls, exact_of(ours, w, x))


if __name__ == "__main__":
    run(
        "layer_inference",
        __doc__,
        measure,
        shapes=SHAPES,
        sparsities="75,80,87.5,90,93.75,95,98,99",
        batches="1,4,16,64,256,2048",
        seconds=0.4,
    )
