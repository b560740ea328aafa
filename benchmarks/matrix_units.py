"""What matrix units do for sparse layers: ours in float32, bfloat16, float16 and int8 beside the best dense engines.

Layers 3072 to 768 and 4096 to 4096 alone, forward; a network 768-3072-768-3072-768 frozen; a training step; two threads
against one. Everyone gets a batch-major float32 input, as a caller has it, and gives what a caller wants; all-bfloat16
torch alone reads and writes bfloat16. One thread, ratios of medians of one run, weights in cache as far as they fit.
What this version cannot do is named with the reason. About eight minutes; goes on where it was, --fresh starts anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from accuracy import relative_error
from harness import arguments, gather, pin, record
from layer_calls import Call, forward, random_layer
from layer_cases import inputs_of
from layer_rates import peaks
from layer_rivals import versions
from layer_threads import with_threads
from layer_timing import warm
from matrix_cases import PATTERNS, TURNED, described, forms, measure
from matrix_goals import judged
from network_rivals import LINEAR, rivals
from torch import Tensor, nn
from training import mlp

import gossamer as gs
from gossamer.errors import GossamerError, SparseEfficiencyWarning
from gossamer.layouts.values import COMPUTE
from gossamer.measure import threads
from gossamer.patterns import parse

NAME = "matrix_units"
WIDTHS = (768, 3072, 768, 3072, 768)
NETWORKS = ("block:16:32", "fanin:32", "unstructured")
STEP = {"inputs": 3072, "outputs": 768, "batch": 256}
PARTS = ("layers", "network", "training", "threads")
Case = dict[str, Any]


def network(case: Case, seconds: float) -> Case:
    """The whole network, frozen in every arithmetic, beside engines that run it dense."""
    x, missing, ours, exact = inputs_of(case["batch"], WIDTHS[0]), {}, {}, {}
    for pattern in NETWORKS:
        for compute in COMPUTE:
            name = f"{pattern} {compute}"
            try:
                model = _sparse_network(pattern)
                ours[name] = _frozen(model, x, compute)
                exact[name] = deepcopy(model).double()(x.double())
            except (GossamerError, SparseEfficiencyWarning) as error:
                missing[name] = str(error)
    theirs = rivals(_dense_network, x, set(LINEAR))
    wanted = _dense_network().double()(x.double())
    calls = {**{name: partial(frozen, x) for name, frozen in ours.items()}, **theirs}
    times = warm(calls, seconds)
    rows = {
        name: {"us": round(times[name] * 1e6, 1), "error": relative_error(call(), exact.get(name, wanted))}
        for name, call in calls.items()
    }
    for name, frozen in ours.items():
        rows[name]["runs"] = [row["runs"][0] for row in frozen.plan["layers"]]
    return {
        "missing": missing,
        "ours": {name: rows[name] for name in ours},
        "rivals": {n: rows[n] for n in theirs},
    }


def _dense_network() -> nn.Module:
    torch.manual_seed(0)
    return mlp(*WIDTHS).eval()


def _sparse_network(pattern: str) -> nn.Module:
    model = _dense_network()
    gs.sparsify(model, 0.1, parse(pattern), "uniform", generator=torch.Generator().manual_seed(0))
    return model


def _frozen(model: nn.Module, x: Tensor, compute: str) -> gs.Frozen:
    """Frozen for this batch; arithmetic that no layer has is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SparseEfficiencyWarning)
        values = "int8" if compute == "int8" else "exact"
        return gs.freeze(model, x, values=values, compute=compute)


def training(case: Case, seconds: float) -> Case:
    """Forward and both gradients of one layer through autograd: ours, and dense in float32 and bfloat16."""
    torch.manual_seed(0)
    inputs, outputs, batch = case["inputs"], case["outputs"], case["batch"]
    x, grad = inputs_of(batch, inputs).requires_grad_(), torch.randn(batch, outputs)
    dense, missing = nn.Linear(inputs, outputs, bias=False), {}
    calls = {
        "dense float32": partial(_step, dense, x, grad),
        "dense bfloat16 autocast": partial(_autocast, dense, x, grad),
        "dense all bfloat16": partial(
            _step, deepcopy(dense).bfloat16(), x.detach().bfloat16().requires_grad_(), grad.bfloat16()
        ),
    }
    for pattern in ("block:16:32", "fanin:32", "fanin:16", "unstructured"):
        try:
            layer = random_layer(pattern, 0.1, inputs, outputs)
        except GossamerError as error:
            missing[pattern] = str(error)
            continue
        calls[f"{pattern} float32"] = partial(_step, layer, x, grad)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = layer(x)
        if not torch.equal(mixed, layer(x)):
            calls[f"{pattern} bfloat16 autocast"] = partial(_autocast, layer, x, grad)
        else:
            missing[f"{pattern} bfloat16 autocast"] = "it computes in float32 under autocast"
    with torch.enable_grad():
        times = warm(calls, seconds)
    return {"missing": missing, "us": {name: round(taken * 1e6, 1) for name, taken in times.items()}}


def _step(layer: nn.Module, x: Tensor, grad: Tensor) -> None:
    """Result and gradients, without an optimizer."""
    y = layer(x)
    torch.autograd.grad(y, [x, *layer.parameters()], grad.to(y.dtype))


def _autocast(layer: nn.Module, x: Tensor, grad: Tensor) -> None:
    """The same in mixed precision, the weight converted in every step."""
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    torch.autograd.grad(y, [x, *layer.parameters()], grad.to(y.dtype))


def two_threads(case: Case, seconds: float, cores: int) -> Case:
    """One thread against two, of every form of a layer at a tenth of its connections, and of torch."""
    if cores < 2:
        return {"missing": {"two threads": "one core is given"}, "ours": [], "torch": 0.0}
    found, missing = forms(case["inputs"], case["outputs"], PATTERNS)
    chosen = [form for form in found if form.density in (TURNED, 1 / 16)]
    x = inputs_of(case["batch"], case["inputs"])
    dense = nn.Linear(case["inputs"], case["outputs"], bias=False)
    calls: dict[str, Call] = {str(n): forward(form.held, x) for n, form in enumerate(chosen)}
    calls["torch"] = partial(dense, x)
    got = {}
    for name, call in calls.items():
        times = warm({str(count): with_threads(count, call) for count in (1, 2)}, seconds)
        got[name] = round(times["1"] / times["2"], 2)
    rows = [{**described(form), "times_faster": got[str(n)]} for n, form in enumerate(chosen)]
    return {"missing": missing, "ours": rows, "torch": got["torch"]}


def grid(shapes: list[tuple[int, int]], batches: str) -> list[Case]:
    """Every layer at every batch size."""
    return [
        {"inputs": inputs, "outputs": outputs, "batch": int(batch)}
        for inputs, outputs in shapes
        for batch in batches.split(",")
    ]


def main() -> None:
    """Every part that is asked for, then all that is known."""
    options = arguments(
        __doc__ or "", shapes="3072x768,4096x4096", batches="1,16,64,256", patterns=",".join(PATTERNS),
        parts=",".join(PARTS), seconds=3.0, cores="0", fresh=False,
    )  # fmt: skip
    count, cores = pin(options.cores), options.cores.split(",")
    shapes = [(int(a), int(b)) for a, b in (shape.split("x") for shape in options.shapes.split(","))]
    patterns = tuple(options.patterns.split(","))
    few = [{"batch": int(batch)} for batch in options.batches.split(",") if batch != "64"]
    jobs: dict[str, tuple[list[Case], Callable[[Case], Case]]] = {
        "threads": (grid(shapes, "256"), partial(two_threads, seconds=options.seconds / 20, cores=count)),
        "layers": (
            grid(shapes, options.batches),
            partial(measure, patterns=patterns, seconds=options.seconds),
        ),
        "network": (few, partial(network, seconds=options.seconds)),
        "training": ([STEP], partial(training, seconds=options.seconds)),
    }
    rows: dict[str, list[Case]] = {}
    with threads(1), torch.no_grad():
        for part, (cases, run) in jobs.items():
            if part != "threads":
                pin(cores[0])
            chosen = cases if part in options.parts.split(",") else []
            rows[part] = gather(f"{NAME}_{part}", chosen, run, fresh=options.fresh) if chosen else []
        best = peaks()
    document = {"peaks": best, "versions": versions(), **rows}
    record(NAME, {**document, "goals": judged(document)})


if __name__ == "__main__":
    main()
