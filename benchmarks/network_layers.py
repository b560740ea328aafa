"""The layers of whole networks one by one, frozen, one image on one core: time, share of the peak, the form chosen.

The peak is that of a large dense product of torch in the same run. Every step of a plan is run by itself, a few times;
its least time counts. Layers read what the steps before left in memory, not in cache.
"""

from __future__ import annotations

from typing import Any

import torch
from harness import Row, arguments, pin, record
from layer_rates import peaks
from networks import example
from whole_networks import listed, sparse

import gossamer as gs
from gossamer.network.plan_rows import describe
from gossamer.network.plan_step import PlanStep

NAMES = ("resnet50", "mobilenet_v2")


def steps(frozen: gs.Frozen) -> list[Any]:
    """Every step of the plans that ran last."""
    found = [step.run for program in frozen.programs for step in program.steps]
    return [row for run in found if isinstance(run, PlanStep) for row in describe(run.plans[-1])]


def measured(name: str, form: str, density: float, peak: float) -> Row:
    """One network: a row for each of its steps."""
    x = example(name, 1)
    with torch.inference_mode():
        frozen = gs.freeze(sparse(name, form, density, ""), x)
        frozen(x)
        rows = steps(frozen)
    layers = {layer["name"]: layer for layer in frozen.plan["layers"]}
    total = sum(row.seconds for row in rows)
    found = []
    for row in rows:
        layer = layers.get(row.name) if row.kind == "conv" else None
        products = layer["connections"] * layer["pixels"] if layer else 0
        rate = 2 * products / max(row.seconds, 1e-9) / 1e9
        found.append(
            {
                "name": row.name,
                "kind": row.kind,
                "reads": row.reads,
                "makes": row.makes,
                "kernel": layer["kernel"] if layer else "",
                "form": layer["runs"][0].split("/")[0] if layer else "",
                "connections": layer["connections"] if layer else 0,
                "us": round(row.seconds * 1e6, 1),
                "share_of_time": round(row.seconds / total, 4),
                "gflops": round(rate, 1),
                "share_of_peak": round(rate / peak, 3),
            }
        )
    return {"network": name, "form": form, "density": density, "ms": round(total * 1e3, 2), "steps": found}


def main() -> None:
    """All networks in all forms."""
    options = arguments(
        __doc__,
        networks=",".join(NAMES),
        forms="fanin,fanin:4",
        densities="0.1",
        cores="0",
        name="network_layers",
    )
    torch.set_num_threads(pin(options.cores))
    best = peaks()
    rows = [
        measured(name, form, float(density), best["gflops"])
        for name in listed(options.networks, NAMES)
        for form in options.forms.split(",")
        for density in options.densities.split(",")
    ]
    record(options.name, {"peak": best, "rows": rows})


if __name__ == "__main__":
    main()
