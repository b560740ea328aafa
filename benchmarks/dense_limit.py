"""A layer with many connections beside torch's dense one: evaluation and a step, with the choice and without."""

from __future__ import annotations

from typing import Any

import torch
from dense_crossover import operands
from harness import arguments, gather, pin, record
from torch import Tensor, nn

from gossamer import ops
from gossamer.kernels import densifying
from gossamer.measure import alternate, threads

LAYOUTS = "csr,fanin:4,nm:2,block:4"
DENSITIES = "0.5,0.9"
SHAPES = "768x3072,512x512"  # inputs x outputs
BATCHES = "1,16,64,256"


def against_dense(
    layout: str, density: float, inputs: int, outputs: int, batch: int, seconds: float
) -> dict[str, float]:
    """Times of torch's dense layer over ours; a step is forward, backward and a write to every value."""
    kind = layout.partition(":")[0]
    made, index, shape = operands(layout, density, inputs, outputs)
    values, rival = nn.Parameter(made), nn.Linear(inputs, outputs, bias=False)
    x = torch.randn(batch, inputs)

    def ours(x: Tensor) -> Tensor:
        return ops.linear(x, values, index, None, kind, shape)

    def evaluate(layer: Any, mode: str) -> Any:
        def run() -> None:
            with torch.no_grad(), densifying(mode):
                layer(x)

        return run

    def step(layer: Any, weight: nn.Parameter, mode: str) -> Any:
        given, grad = x.clone().requires_grad_(), torch.ones(batch, outputs)

        def run() -> None:
            with densifying(mode):
                found = torch.autograd.grad(layer(given), [given, weight], grad)
            with torch.no_grad():
                weight.add_(found[1], alpha=-1e-9)

        return run

    result = {}
    for name, calls in {
        "evaluate": {mode: evaluate(ours, mode) for mode in ("auto", "never")}
        | {"dense": evaluate(rival, "auto")},
        "step": {mode: step(ours, values, mode) for mode in ("auto", "never")}
        | {"dense": step(rival, rival.weight, "auto")},
    }.items():
        times = alternate(calls, seconds=seconds)
        for mode in ("auto", "never"):
            result[f"{name} {mode}"] = round(times["dense"].median / times[mode].median, 2)
    return result


def main() -> None:
    """Every case; goes on where it was."""
    options = arguments(
        __doc__, layouts=LAYOUTS, densities=DENSITIES, shapes=SHAPES, batches=BATCHES, seconds=0.15, cores="0",
        fresh=False,
    )  # fmt: skip
    cases = [
        {"layout": layout, "density": float(density), "inputs": int(shape.split("x")[0]),
         "outputs": int(shape.split("x")[1]), "batch": int(batch)}
        for shape in options.shapes.split(",")
        for layout in options.layouts.split(",")
        for density in (options.densities.split(",") if layout != "nm:2" else ("0.5", "0.75"))
        for batch in options.batches.split(",")
    ]  # fmt: skip
    with threads(pin(options.cores)):
        rows = gather(
            "dense_limit",
            cases,
            lambda case: against_dense(**case, seconds=options.seconds),
            fresh=options.fresh,
        )
    record("dense_limit", {"rows": rows})


if __name__ == "__main__":
    main()
