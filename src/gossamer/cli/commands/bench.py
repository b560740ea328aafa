"""``gossamer bench``: a frozen network or one layer, beside dense, CSR and int8 torch of the same session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.errors import ConfigError
from gossamer.report.words import duration, many, size

if TYPE_CHECKING:
    from rich.console import Group
    from torch import Tensor

    from gossamer.freezing import Frozen


@command(plug_ins=True)
def bench(
    out: Output,
    target: Annotated[
        str, typer.Argument(metavar="MODEL.safetensors|layer", help="A frozen file, or: layer.")
    ],
    n_in: Annotated[int, typer.Option("--in", min=1, help="layer: inputs.")] = 3072,
    n_out: Annotated[int, typer.Option("--out", min=1, help="layer: neurons.")] = 768,
    pattern: Annotated[
        str, typer.Option(help="layer: fanin, fanin:4, nm:1:8, block:4, unstructured.")
    ] = "nm:1:8",
    density: Annotated[float | None, typer.Option(help="layer: share of connections.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a call.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch and of our kernels.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.01, help="Budget of the measurement.")] = 3.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Measure a frozen network or a layer beside dense, CSR and int8 torch, and say where it loses.

    Examples:
        gossamer bench net.safetensors --batch 16
        gossamer bench layer --in 256 --out 128 --pattern fanin --density 0.1
    """
    import torch

    from gossamer import measure
    from gossamer.freezing.rivals import contenders, race, verdict

    torch.manual_seed(seed)
    with measure.threads(threads):
        if target == "layer":
            frozen, source = _layer(n_in, n_out, pattern, density, batch)
        else:
            frozen = source = _file(target)
        x = _example(source, batch)
        out.remark(f"measuring for about {seconds:g} s")
        rows = race(contenders(frozen, source, x), x, threads, seconds)
        machine = measure.machine()
    document = {
        "target": target,
        "batch": batch,
        "threads": threads,
        "connections": sum(row.connections for row in frozen.layer_counts()),
        "rows": rows,
        "verdict": verdict(rows),
        "machine": machine,
    }
    if target == "layer":
        document["layer"] = {"in": n_in, "out": n_out, "pattern": pattern, "density": density}
    out.result(document, lambda: _view(document))


def _layer(n_in: int, n_out: int, pattern: str, density: float | None, batch: int) -> tuple[Frozen, Frozen]:
    """One layer of random values and topology: frozen as measured, and in the layout of its pattern."""
    import torch
    from torch import nn

    import gossamer as gs
    from gossamer.nn import sparsify
    from gossamer.patterns.base import parse

    model, kind = nn.Sequential(nn.Linear(n_in, n_out)), parse(pattern)
    sparsify(model, density=density, pattern=kind, allocation="uniform")
    example = torch.randn(batch, n_in)
    return gs.freeze(model, example), gs.freeze(model, example, keep=kind.layout)


def _file(path: str) -> Frozen:
    import gossamer as gs

    if not Path(path).is_file():
        raise ConfigError(
            "bench", expected="a file made by gossamer freeze, or the word layer", got=repr(path)
        )
    return gs.load(path)


def _example(frozen: Frozen, batch: int) -> Tensor:
    """Random numbers of the type and sizes of the example that a network was frozen with."""
    import torch

    if len(inputs := frozen.report.inputs) != 1:
        raise ConfigError("bench", expected="a network of one input", got=f"one of {len(inputs)}")
    return torch.randn(batch, *inputs[0].shape[1:], dtype=getattr(torch, inputs[0].dtype))


def _view(document: dict[str, Any]) -> Group:
    """The race for people."""
    rows = [
        [
            row["name"],
            duration(row["seconds"]["median"]),
            f"{row['against_dense']:.2f} x",
            f"{row['gflops_real']:.1f}",
            f"{row['gflops_dense_equivalent']:.1f}",
            size(row["bytes"]),
        ]
        for row in document["rows"]
    ]
    columns = ["network", "median", "against dense", "GFLOP/s", "dense-equivalent", "bytes"]
    title = f"{document['target']}: {document['connections']:,} connections, batch {document['batch']}, "
    title += f"{many(document['threads'], 'thread')}, {document['machine']['cpu']}"
    return table(title, columns, rows, "; ".join(document["verdict"]))
