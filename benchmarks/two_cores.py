"""The same layers through two builds of the core, such as before and after a change, in turns in one process.

Both read the same operands and write to memory of the same allocator, so that a difference of 2 % shows: two processes
differ by more in where their memory lies. Their outputs are compared. Only the forward pass, one thread.

    python benchmarks/two_cores.py --before build/before.so --after build/after.so
"""

from __future__ import annotations

import ctypes
import statistics
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from harness import arguments, pin, record
from layer_calls import Call
from layer_cases import inputs_of, layers
from layer_timing import timed
from torch import Tensor

from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.linear import linear
from gossamer.layouts import Encoded
from gossamer.measure import threads
from gossamer.trace.tensors import tensor_of

ROUND = 3e-4  # seconds that a core runs before the other does


def loaded(path: str) -> Any:
    """The one function of a core that is called here; other versions may lack the rest."""
    core = ctypes.CDLL(path)
    core.gs_linear.argtypes, core.gs_linear.restype = [ctypes.c_char_p], ctypes.c_int
    return SimpleNamespace(gs_linear=core.gs_linear)


def product(core: Any, form: Encoded, x: Tensor) -> Call:
    """A layer's forward pass through this core."""
    with patch.object(library, "core", lambda: core):
        run = linear(
            form.layout, pack.DTYPES[pack.row_dtype(form.values)], library.ISAS[library.available_isas()[-1]]
        )
    index = [tensor_of(array) for array in form.index.values()]
    scale = None if form.scale is None else tensor_of(form.scale)
    return partial(run, x, tensor_of(form.values), index, None, form.dims, scale)


def compared(before: Call, after: Call, rounds: int) -> dict[str, Any]:
    """The least time of each, the median ratio of neighbouring rounds, and whether both give the same bits."""
    same = torch.equal(before(), after())
    calls = max(1, int(ROUND / max(timed(before), 1e-6)))
    times: dict[Call, list[float]] = {before: [], after: []}
    for number in range(rounds):
        for call in (before, after) if number % 2 else (after, before):
            call()
            times[call].append(min(timed(call) for _ in range(calls)))
    pairs = zip(times[before], times[after], strict=True)
    return {
        "before_s": min(times[before]),
        "after_s": min(times[after]),
        "ratio": statistics.median(new / old for old, new in pairs),
        "same_bits": same,
    }


def main() -> None:
    """Measure the grid and write it down."""
    options = arguments(
        str(__doc__), before="", after="", shapes="512x512,768x3072,3072x768", sparsities="80,90,95",
        batches="1,16,256", rounds=24,
    )  # fmt: skip
    pin("0")
    cores = [loaded(options.before), loaded(options.after)]
    rows = []
    with threads(1), torch.no_grad():
        for inputs, outputs in (map(int, shape.split("x")) for shape in options.shapes.split(",")):
            for sparsity in map(float, options.sparsities.split(",")):
                _, ours = layers(inputs, outputs, sparsity)
                for batch in map(int, options.batches.split(",")):
                    x = inputs_of(batch, inputs)
                    for name, (_, form) in ours.items():
                        case = {
                            "inputs": inputs,
                            "outputs": outputs,
                            "sparsity": sparsity,
                            "batch": batch,
                            "form": name,
                        }
                        rows.append(
                            case | compared(*(product(core, form, x) for core in cores), options.rounds)
                        )
    ratios = sorted(min(row["ratio"], row["after_s"] / row["before_s"]) for row in rows)
    slower = [row for row in rows if min(row["ratio"], row["after_s"] / row["before_s"]) > 1.03]
    print(
        f"{len(rows)} cases: median {statistics.median(ratios):.3f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}"
    )
    for row in slower:
        print("more than 3 % slower:", row)
    record("two_cores", {"median": statistics.median(ratios), "slower": len(slower), "rows": rows})


if __name__ == "__main__":
    main()
