"""One layer forward, each pattern beside every rival on the same numbers, in turns, weights in cache; pinned cores.

Everyone gets a batch-major input, as a caller has it. Goes on where it was; --fresh starts anew. The results hold every
case measured so far, so the grid can be run in parts: --shapes 512x512,256x256 --batches 1,4. As many threads as --cores.
"""

from __future__ import annotations

from typing import Any

import torch
from harness import arguments, forget, known, pin, record, remembered
from layer_calls import forward
from layer_cases import SHAPES, SPARSITIES, chosen, inputs_of, layers
from layer_rates import peaks, rates, with_shares
from layer_rivals import INSTALLING, RIVALS, versions
from layer_timing import warm

from gossamer.measure import threads

BATCHES = "1,4,16,64,256,2048"


def measure(case: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Times of all contenders, and what ours execute and hold."""
    w, ours = layers(case["inputs"], case["outputs"], case["sparsity"])
    x, shape = inputs_of(case), (case["inputs"], case["outputs"], case["batch"])
    rivals = {name: call for name, rival in RIVALS.items() if (call := rival.make(w, x)) is not None}
    times = warm({**{name: forward(form, x) for name, (_, form) in ours.items()}, **rivals}, seconds)
    used = int(w.count_nonzero())
    return {
        "ours": {
            name: {
                "connections": connections,
                "bytes": form.bytes,
                **rates(times[name], connections, form.bytes, shape),
            }
            for name, (connections, form) in ours.items()
        },
        "rivals": {
            name: rates(
                times[name], w.numel() if RIVALS[name].a_weight else used, RIVALS[name].bytes(w), shape
            )
            for name in rivals
        },
    }


def key(case: dict[str, Any]) -> str:
    """Of a case, among those already measured."""
    return " ".join(map(str, case.values()))


def main() -> None:
    """The chosen cases; then a file of all that were ever chosen."""
    options = arguments(
        f"{__doc__}\n{INSTALLING}",
        shapes=SHAPES,
        sparsities=SPARSITIES,
        batches=BATCHES,
        seconds=0.4,
        cores="0",
        fresh=False,
    )
    count = pin(options.cores)
    name = "layer_inference" if count == 1 else f"layer_inference_{count}_threads"
    if options.fresh:
        forget(name)
    with threads(count), torch.no_grad():
        for case in chosen(options):
            row = remembered(name, key(case), lambda case=case: {**case, **measure(case, options.seconds)})
            said = {n: got["us"] for kind in ("ours", "rivals") for n, got in row[kind].items()}
            print(key(case), said, flush=True)
        best = peaks()
    rows = sorted(known(name).values(), key=lambda row: tuple(row[part] for part in case))
    rows = [with_shares(row, best) for row in rows]
    record(name, {"threads": count, "peaks": best, "versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
