"""What stands side by side on a processor with matrix units: our patterns in every arithmetic, and dense engines."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from accuracy import relative_error
from layer_calls import Call, connections_of, forward, random_layer
from layer_cases import inputs_of
from layer_rivals import RIVALS
from layer_timing import warm
from torch import Tensor

from gossamer.errors import GossamerError, KernelUnavailable
from gossamer.layouts import Encoded, layout, layouts
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import narrowed
from gossamer.trace.tensors import tensor_of

PATTERNS = ("block:16:32", "fanin:16", "fanin:32", "unstructured", "nm:1:16")
DENSITIES = {"nm:1:16": (1 / 16,), "unstructured": (0.5, 0.3, 0.25, 0.1, 0.05)}  # the others:
USUAL = (0.5, 0.25, 0.1, 0.05)
GENERAL = (
    "csr",
    "csr_bands",
    "bitmask",
    "bitmask_bytes",
    "window_bytes",
)  # hold everything, and are not tried where a pattern has layouts of its own
LEFT_OUT = ("dense", "slice")
AGAINST = (
    "torch dense", "torch bfloat16", "torch compile bfloat16", "torch int8", "ONNX Runtime int8", "OpenVINO",
    "OpenVINO bfloat16", "OpenVINO int8", "OpenVINO int8 both",
)  # fmt: skip
TURNED = 0.1  # the density at which inputs that lie feature by feature are measured as well


class Form(NamedTuple):
    """One layer in one layout: its pattern and density, what is computed in, what is held, and what it is made from."""

    pattern: str
    density: float
    compute: str
    held: Encoded
    made_from: Connections


@lru_cache(maxsize=1)
def forms(inputs: int, outputs: int, patterns: tuple[str, ...]) -> tuple[list[Form], dict[str, str]]:
    """Every form of every pattern, and why others are missing."""
    found: list[Form] = []
    missing: dict[str, str] = {}
    for pattern in patterns:
        for density in DENSITIES.get(pattern, USUAL):
            try:
                layer = random_layer(pattern, density, inputs, outputs)
            except GossamerError as error:
                missing[pattern] = str(error)
                break
            exact, own = connections_of(layer), layer.pattern.layout
            for compute, connections in kinds(exact):
                found += [
                    Form(pattern, density, compute, held, exact) for held in _held(connections, compute, own)
                ]
    there = {(form.pattern, form.compute) for form in found}
    for pattern in set(patterns) - set(missing):
        for compute in ("bfloat16", "float16", "int8"):
            if (pattern, compute) not in there:
                missing[f"{pattern} {compute}"] = "no layout computes such a layer in it"
    return found, missing


def kinds(exact: Connections) -> list[tuple[str, Connections]]:
    """What is computed in, and what is stored for it; int8 values may be multiplied in float32, too."""
    small = narrowed(exact, "int8")
    return [
        ("float32", exact),
        ("bfloat16", exact),
        ("float16", exact),
        ("int8", small),
        ("float32 of int8 values", small),
    ]


def _held(connections: Connections, compute: str, own: str) -> list[Encoded]:
    """The layouts that compute so and hold the layer."""
    made = []
    for name in layouts:
        kind = layout(name)
        general = name in GENERAL and own not in GENERAL
        if kind.compute != compute.split(maxsplit=1)[0] or general or name in LEFT_OUT or not kind.kernel:
            continue
        if isinstance(fits := kind.runs(connections), dict):
            made.append(kind.encode(connections, fits))
    return made


def measure(case: dict[str, Any], patterns: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Times and errors of every form and every rival, on one layer at one batch size, in turns."""
    inputs, outputs, batch = case["inputs"], case["outputs"], case["batch"]
    found, missing = forms(inputs, outputs, patterns)
    found = [form for form in found if not layout(form.held.layout).unpromising(batch)]
    w = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(2)) / inputs**0.5
    x = inputs_of(batch, inputs)
    rivals = {name: call for name in AGAINST if (call := RIVALS[name].make(w, x)) is not None}
    turned = x.t().contiguous().t()
    ours: dict[str, Call] = {}
    for number, form in enumerate(found):
        try:
            ours[f"{number}"] = forward(form.held, x)
        except KernelUnavailable as error:
            missing = {**missing, f"{form.pattern} {form.compute} as {form.held.layout}": str(error)}
            continue
        if batch > 1 and form.density == TURNED:
            ours[f"{number} turned"] = forward(form.held, turned)
    times = warm({**ours, **rivals}, seconds)
    exact, dense = exact_outputs(found, x), x.double() @ w.double().T
    return {
        "missing": missing,
        "ours": [
            {
                **described(found[int(name.split()[0])]),
                "input": "feature-major" if name.endswith("turned") else "batch-major",
                "us": round(times[name] * 1e6, 1),
                "error": relative_error(call(), exact[id(found[int(name.split()[0])].made_from)]),
            }
            for name, call in ours.items()
        ],
        "rivals": {
            name: {
                "us": round(times[name] * 1e6, 1),
                "error": relative_error(call(), dense),
            }
            for name, call in rivals.items()
        },
    }


def described(form: Form) -> dict[str, Any]:
    """What it is, in words and numbers."""
    return {
        "pattern": form.pattern,
        "density": form.density,
        "compute": form.compute,
        "layout": form.held.layout,
        "connections": form.made_from.positions.size,
        "bytes": form.held.bytes,
    }


def exact_outputs(found: list[Form], x: Tensor) -> dict[int, Tensor]:
    """The product in float64 of every layer that forms were made from."""
    made = {id(form.made_from): form.made_from for form in found}
    return {key: x.double() @ tensor_of(each.dense()).double().T for key, each in made.items()}
