"""``gossamer convert``: a file of another library, turned into ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group

from gossamer.cli.app import command
from gossamer.cli.output import Output, table
from gossamer.report.words import percent, size

if TYPE_CHECKING:
    from gossamer.importing import Converted

NEXT = {
    "network": "a network for gossamer.load, gossamer.runtime and gossamer inspect",
    "weights": "weights for model.load_state_dict, and then gossamer.from_zeros(model)",
}


@command()
def convert(
    out: Output,
    source: Annotated[
        Path, typer.Argument(help="TFLite, ONNX, safetensors, or a state of torch.save.", metavar="FILE")
    ],
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; by default beside the given one.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="What the zeros must be, such as nm:2:4; by default anything.")
    ] = None,
) -> None:
    """Turn a file of another library into a network for our runtime, or into weights for a torch model.

    Data only: nothing in the file is executed, and pickled modules are refused.

    Examples:
        gossamer convert pose_detection.tflite
        gossamer convert model.safetensors -o weights.safetensors --pattern nm:2:4
    """
    from gossamer.cli.target import check_target
    from gossamer.importing import converting
    from gossamer.network.schema import KIND
    from gossamer.storage import kind_of

    path = target or source.with_name(f"{source.stem}-gossamer.safetensors")
    check_target(path, "converted file", lambda there: kind_of(there) == KIND or converting.is_ours(there))
    made = converting.convert(source, path, pattern)
    n_bytes = path.stat().st_size
    document = {"source": str(source), "file": str(path), "bytes": n_bytes} | asdict(made)
    document["rows"] = [asdict(row) | {"zeros": row.zeros} for row in made.rows]
    out.result(document, lambda: _view(made, source, path, n_bytes))


def _view(made: Converted, source: Path, path: Path, n_bytes: int) -> Group:
    rows = [
        [
            row.name,
            " x ".join(map(str, row.shape)),
            f"{row.connections:,}",
            percent(row.zeros),
            size(row.bytes),
        ]
        for row in made.rows
    ]
    sizes = [f"input {each['name']}: {each['shape']}" for each in made.inputs]
    sizes += [f"output {each['name']}: {each['shape']}, from {each['first']} on" for each in made.outputs]
    before = size(source.stat().st_size)
    lines = [*sizes, *made.notes, f"{path}: {size(n_bytes)} from {before}, {NEXT[made.result]}"]
    columns = ["layer", "shape", "connections", "zeros", "bytes"]
    return Group(table(f"{source} ({made.format})", columns, rows, "\n".join(lines)))
