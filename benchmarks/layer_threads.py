"""Two threads against one: the three products of a layer, and dense torch beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, record

import gossamer as gs
from gossamer.kernels import pick
from gossamer.measure import alternate, threads
from gossamer.patterns import parse

SHAPES = ((3072, 768), (768, 3072), (4096, 4096))  # inputs, outputs
PATTERNS = ("fanin", "fanin:4", "unstructured")
BATCHES = (1, 64, 256)


def with_threads(count: int, call: Callable[[], Any]) -> Callable[[], Any]:
    """The call on this many threads of torch's pool."""

    def run() -> None:
        torch.set_num_threads(count)
        call()

    return run


def speed_ups(
    pattern: str, density: float, inputs: int, outputs: int, batch: int, seconds: float
) -> dict[str, float]:
    """Time of one thread over time of two, for every product; taken in turns."""
    generator = torch.Generator().manual_seed(0)
    layer = gs.SparseLinear(inputs, outputs, density=density, pattern=parse(pattern), generator=generator)
    x, grad = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T
    values, index, shape = layer.values.detach(), layer.operands(), layer.pattern.dims(layer.shape)
    kernel = {
        op: pick(op, layer.pattern.layout, values.dtype, "cpu").call
        for op in ("linear", "linear_grad_input", "linear_grad_values")
    }
    w = torch.randn(outputs, inputs)
    products: dict[str, Callable[[], Any]] = {
        "forward": lambda: kernel["linear"](x, values, index, None, shape),
        "dX": lambda: kernel["linear_grad_input"](grad, values, index, shape),
        "dW": lambda: kernel["linear_grad_values"](grad, x, values, index, shape),
        "torch dense forward": lambda: x @ w.T,
    }
    result = {}
    for name, call in products.items():
        times = alternate({str(n): with_threads(n, call) for n in (1, 2)}, seconds=seconds)
        result[name] = round(times["1"].median / times["2"].median, 2)
    return result


def main() -> None:
    """Every pattern on every shape and batch."""
    options = arguments(__doc__, density=0.1, seconds=0.3)
    rows = []
    with threads(1):  # puts the number back at the end
        for inputs, outputs in SHAPES:
            for pattern in PATTERNS:
                for batch in BATCHES:
                    what = {"pattern": pattern, "inputs": inputs, "outputs": outputs, "batch": batch}
                    got = speed_ups(**what, density=options.density, seconds=options.seconds)
                    rows.append({**what, "speed_up": got})
                    print(what, got, flush=True)
    record("layer_threads", {"density": options.density, "rows": rows})


if __name__ == "__main__":
    main()
