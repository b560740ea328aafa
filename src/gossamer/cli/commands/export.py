"""``gossamer export``: a frozen network for the engine of somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gossamer.cli.app import command
from gossamer.cli.output import Output
from gossamer.errors import ConfigError
from gossamer.report.words import size

FORMATS = ("onnx",)


@command()
def export(
    out: Output,
    source: Annotated[
        Path, typer.Argument(help="Frozen file, as gossamer freeze writes it.", metavar="FILE")
    ],
    to: Annotated[str, typer.Option(help=f"The format: {', '.join(FORMATS)}.")] = "onnx",
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; by default beside the frozen one.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="dense, which every engine reads, or sparse: smaller files for ONNX Runtime alone."
        ),
    ] = "dense",
) -> None:
    """Write a frozen network in standard operators of ONNX; speed from sparsity needs our own runtime.

    Examples:
        gossamer export net.safetensors --to onnx
    """
    from gossamer.cli.target import check_target
    from gossamer.export import export_onnx, is_export

    if to not in FORMATS:
        raise ConfigError("export --to", expected=f"a format of {', '.join(FORMATS)}", got=repr(to))
    path = target or source.with_suffix(f".{to}")
    check_target(path, "file of ONNX", is_export)
    export_onnx(source, path, weights=weights)
    n_bytes = path.stat().st_size
    document = {
        "file": str(path),
        "bytes": n_bytes,
        "weights": weights,
        "frozen_bytes": source.stat().st_size,
    }
    out.result(
        document, lambda: Text(f"{path}: {size(n_bytes)} with {weights} weights, for engines that read ONNX")
    )
