"""``gossamer inspect``: what is in a frozen file, a checkpoint or a run, counted exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import percent, size

BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
BINS = 24


@command()
def inspect(
    out: Output,
    source: Annotated[
        Path, typer.Argument(help="Frozen file, run folder, or checkpoint in one.", metavar="FILE|RUN")
    ],
) -> None:
    """Count connections, bytes and operations, layer by layer, and show the fan-in of the neurons.

    Examples:
        gossamer inspect runs/a
        gossamer inspect net.safetensors --json
    """
    import gossamer as gs
    from gossamer.runs.facts import layer_facts
    from gossamer.runs.folder import is_checkpoint, restored

    if not source.exists():
        raise ConfigError(
            "inspect", expected="a frozen file, a run folder or a checkpoint in one", got=str(source)
        )
    if is_checkpoint(source):
        found = restored(source)
        layers = layer_facts(found.model, found.shape)
    else:
        layers = layer_facts(gs.load(source))
    totals = {
        "connections": sum(layer["connections"] for layer in layers),
        "bytes": sum(sum(layer["bytes"].values()) for layer in layers),
        "flops": sum(layer["flops"] or 0 for layer in layers),
    }
    out.result(
        {"source": str(source), "layers": layers, "total": totals}, lambda: _view(source, layers, totals)
    )


def _view(source: Path, layers: list[dict[str, Any]], totals: dict[str, int]) -> Group:
    rows = [
        [
            layer["name"],
            layer["kind"],
            f"{layer['shape'][1]} -> {layer['shape'][0]}",
            f"{layer['connections']:,}",
            percent(layer["connections"] / max(1, layer["shape"][0] * layer["shape"][1])),
            size(layer["bytes"]["values"]),
            size(layer["bytes"]["indices"]),
            size(layer["bytes"]["bias"]),
            f"{layer['flops'] or 0:,}",
            str(layer["active"]),
        ]
        for layer in layers
    ]
    columns = [
        "layer",
        "kind",
        "shape",
        "connections",
        "density",
        "values",
        "indices",
        "bias",
        "FLOPs",
        "active",
    ]
    total = (
        f"{totals['connections']:,} connections, {size(totals['bytes'])}, {totals['flops']:,} FLOPs a sample"
    )
    fan_ins = [[layer["name"], *_histogram(layer["fan_in"])] for layer in layers]
    return Group(
        table(str(source), columns, rows, total),
        table("inputs of a neuron", ["layer", "fewest", "neurons by inputs", "most"], fan_ins),
    )


def _histogram(fan_in: dict[str, int]) -> tuple[str, str, str]:
    """Smallest fan-in, a bar chart in one line, largest fan-in."""
    if not fan_in:
        return "0", "", "0"
    inputs = {int(name): neurons for name, neurons in fan_in.items()}
    low, high = min(inputs), max(inputs)
    bins = min(BINS, high - low + 1)
    heights = [0] * bins
    for number, neurons in inputs.items():
        heights[(number - low) * bins // (high - low + 1)] += neurons
    top = max(heights)
    return str(low), "".join(BARS[-(-height * (len(BARS) - 1) // top)] for height in heights), str(high)
