"""Two threads against one: the three products of a layer, and dense torch beside them."""

from __future__ import annotations

import torch
from harness import arguments, record
from layer_calls import Call, products, random_layer

from gossamer.measure import alternate, threads

SHAPES = ((3072, 768), (768, 3072), (4096, 4096))  # inputs, outputs
PATTERNS = ("fanin", "fanin:4", "unstructured")
BATCHES = (1, 64, 256)


def with_threads(count: int, call: Call) -> Call:
    """The call on this many threads of torch's pool."""

    def run() -> None:
        torch.set_num_threads(count)
        call()

    return run


def speed_ups(
    pattern: str, density: float, inputs: int, outputs: int, batch: int, seconds: float
) -> dict[str, float]:
    """Time of one thread over time of two, for every product; taken in turns."""
    x, grad, w = torch.randn(inputs, batch).T, torch.randn(outputs, batch).T, torch.randn(outputs, inputs)
    calls = products(random_layer(pattern, density, inputs, outputs), x, grad)
    calls["torch dense forward"] = lambda: x @ w.T
    result = {}
    for name, call in calls.items():
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
