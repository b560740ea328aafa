"""Whole networks, frozen, beside dense engines: one sample or sixteen, one thread or two.

Every row is measured in its own turns with all engines and kept in ``runs/``: a killed run goes on where it was.
Sparse networks keep ``density`` of the connections of every layer but depth-wise and tiny ones (uniform allocation),
drawn at random with the values of an untrained network: times do not depend on them. ``pruned`` keeps the largest
weights of every layer instead: with ``--weights``, a file of one network's values, rows are as uneven as trained ones,
and the file is named in the row.
Engines that are not installed are left out: ONNX Runtime and OpenVINO are in the extra [bench], and onnx with them;
DEEPSPARSE_PYTHON names an interpreter that has DeepSparse, which runs a network with the same zeros as ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import relative_error
from harness import Row, arguments, gather, pin, record
from network_rivals import NAMES, SPARSE, deepsparse, rivals
from networks import NETWORKS, example
from torch import nn

import gossamer as gs
from gossamer.measure import alternate, threads
from gossamer.network.graph import Opaque
from gossamer.nn import SparseModule

FORMS = ("dense", "pruned", "unstructured", "fanin", "fanin:2", "fanin:4", "fanin:8")


def dense(name: str, weights: str = "") -> nn.Module:
    """A network in evaluation, with the values of a file, or drawn for a seed."""
    torch.manual_seed(0)
    model = NETWORKS[name].make().eval()
    if weights:
        held: Any = (
            dict(np.load(weights)) if weights.endswith(".npz") else torch.load(weights, weights_only=True)
        )
        NETWORKS[name].load(model, held)
    return model.requires_grad_(requires_grad=False)


def stays_dense(_name: str, module: nn.Module) -> bool:
    """Depth-wise convolutions, and layers whose outputs make no groups of eight."""
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return False
    depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    return depthwise or module.weight.shape[0] % 8 != 0


def prune(model: nn.Module, density: float) -> None:
    """Keep the largest weights of every layer; the rest becomes zero."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not stays_dense(name, module):
            size = module.weight.abs().flatten()
            gone = size.numel() - max(1, round(density * size.numel()))
            if gone:
                module.weight.masked_fill_(module.weight.abs() <= size.kthvalue(gone).values, 0.0)


def sparse(name: str, form: str, density: float, weights: str) -> nn.Module:
    """The network in one of the forms."""
    model = dense(name, weights)
    if form == "pruned":
        prune(model, density)
    elif form != "dense":
        drawn = torch.Generator().manual_seed(0)
        gs.sparsify(model, density, form, "uniform", generator=drawn, skip=stays_dense)
    return model.eval()


def with_its_zeros(model: nn.Module, name: str, weights: str) -> nn.Module:
    """A dense network with the connections of a sparse one."""
    twin = dense(name, weights)
    for path, module in twin.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            layer: Any = model.get_submodule(path)
            module.weight.copy_(layer.to_dense() if isinstance(layer, SparseModule) else layer.weight)
    return twin


def measured(case: Row, *, wanted: set[str], seconds: float, weights: str) -> Row:
    """One network in one form, at one batch size and number of threads."""
    name, form, density, batch = case["network"], case["form"], case["density"], case["batch"]
    x = example(name, batch)
    model = sparse(name, form, density, weights)
    with threads(case["threads"]), torch.inference_mode():
        frozen = gs.freeze(model, x)
        got, expected = frozen(x), model(x)
        calls: dict[str, Callable[[], Any]] = {"gossamer": partial(frozen, x)}
        calls |= rivals(partial(dense, name, weights), x, wanted)
        if SPARSE in wanted and (call := deepsparse(with_its_zeros(model, name, weights), x)) is not None:
            calls[SPARSE] = call
        times = alternate(calls, seconds=seconds)
        errors = _errors(calls, model, partial(dense, name, weights), x)
    torch_runs = [node.name for node in frozen.graph.nodes if isinstance(node.body, Opaque)]
    return {
        "seconds": {engine: timing.median for engine, timing in times.items()},
        "p10": {engine: timing.p10 for engine, timing in times.items()},
        "error": float((got - expected).abs().max() / expected.abs().max()),
        "errors": errors,
        "file": file_bytes(frozen),
        "connections": sum(row["connections"] for row in frozen.plan["layers"]),
        "parameters": NETWORKS[name].parameters,
        "stays_torch": torch_runs,
        "layers": [
            {key: row[key] for key in ("name", "shape", "connections", "runs")}
            for row in frozen.plan["layers"]
        ],
    }


def _errors(
    calls: Mapping[str, Callable[[], Any]], model: nn.Module, make: Callable[[], nn.Module], x: torch.Tensor
) -> dict[str, float]:
    """How far each is from the network that it computes, in float64; int8 engines saw noise only."""
    ours, theirs = (each.double()(x.double()) for each in (deepcopy(model), make()))
    known = {name: call for name, call in calls.items() if name != SPARSE}
    return {
        name: relative_error(call(), ours if name == "gossamer" else theirs) for name, call in known.items()
    }


def file_bytes(frozen: Any) -> int:
    """Of the artifact."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        gs.save(frozen, path)
        return path.stat().st_size


def listed(text: str, known: tuple[str, ...]) -> list[str]:
    """Words between commas; raises SystemExit for one that is not known."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise SystemExit(f"benchmark: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return words


def main() -> None:
    """Measure what is not known yet, and write everything that is."""
    options = arguments(
        __doc__ or "",
        networks="resnet50,mobilenet_v2",
        forms="dense,unstructured,fanin,fanin:4",
        densities="0.1",
        batches="1,16",
        threads="1,2",
        cores="0,1",
        engines=",".join(NAMES),
        weights="",
        seconds=10.0,
        name="whole_networks",
        fresh=False,
    )
    pin(options.cores)
    wanted = set(listed(options.engines, NAMES))
    values = {"weights": Path(options.weights).stem} if options.weights else {}
    cases = [
        {"network": network, "form": form, "density": density, "batch": batch, "threads": number} | values
        for network in listed(options.networks, tuple(NETWORKS))
        for form in listed(options.forms, FORMS)
        for density in ([1.0] if form == "dense" else map(float, options.densities.split(",")))
        for batch in map(int, options.batches.split(","))
        for number in map(int, options.threads.split(","))
    ]
    measure = partial(measured, wanted=wanted, seconds=options.seconds, weights=options.weights)
    record(options.name, {"rows": gather(options.name, cases, measure, fresh=options.fresh)})


if __name__ == "__main__":
    main()
