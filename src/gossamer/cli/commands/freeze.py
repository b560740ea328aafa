"""``gossamer freeze``: a trained run becomes a small, fast file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gossamer.cli.app import command
from gossamer.cli.output import Output
from gossamer.report.words import percent, size

if TYPE_CHECKING:
    from gossamer.freezing import Frozen
    from gossamer.runs.folder import Restored


@command(plug_ins=True)
def freeze(
    out: Output,
    source: Annotated[
        Path, typer.Argument(help="Run folder, or a checkpoint in one.", metavar="RUN|CHECKPOINT")
    ],
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; by default in the run.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The best epoch instead of the last.")] = False,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size to be fast at; repeatable.")
    ] = None,
    keep: Annotated[str, typer.Option(help="fastest (measured), or a layout for all layers.")] = "fastest",
    values: Annotated[
        str,
        typer.Option(
            help="exact, or weights rounded to bfloat16, int8, int4, ternary or binary; shows the accuracy."
        ),
    ] = "exact",
    compute: Annotated[
        str,
        typer.Option(
            help="float32, or the arithmetic that layers may use as well: bfloat16, float16, int8 (with --values int8)."
        ),
    ] = "float32",
    prefer: Annotated[str, typer.Option(help="speed, or size: the smallest form of each layer.")] = "speed",
    plan: Annotated[
        Path | None, typer.Option(help="Repeat the plan of a frozen file, or of JSON, instead of measuring.")
    ] = None,
) -> None:
    """Freeze a trained network: dead neurons gone, every layer in the form measured fastest here.

    Examples:
        gossamer freeze runs/a --out net.safetensors
        gossamer freeze runs/a --batch 1 --batch 32 --values int8
    """
    import torch

    import gossamer as gs
    from gossamer import measure
    from gossamer.cli.compare import DENSE_KIND
    from gossamer.cli.target import check_target
    from gossamer.layouts.values import EXACT
    from gossamer.network.schema import KIND
    from gossamer.runs import record
    from gossamer.runs.folder import restored
    from gossamer.storage import kind_of

    path = target or (source if source.is_dir() else source.parent) / record.NETWORK
    check_target(path, "network", lambda there: kind_of(there) in (KIND, DENSE_KIND))
    found = restored(source, record.BEST if best else record.LAST)
    sizes = tuple(sorted(set(batch or (1, 256))))
    example = torch.randn(sizes[-1], *found.shape, generator=torch.Generator().manual_seed(0))
    with measure.threads(found.config.threads or torch.get_num_threads()):
        frozen = gs.freeze(
            found.model,
            example,
            keep=keep,
            batch_sizes=sizes if plan is None else (),
            values=values,
            compute=compute,
            prefer=prefer,
            plan=plan,
        )
    gs.save(frozen, path)
    n_bytes = path.stat().st_size
    document = {"file": str(path), "bytes": n_bytes, "step": found.step, "plan": frozen.plan}
    note = ""
    if values != EXACT:
        accuracy = _accuracy(found, frozen, values)
        document["accuracy"] = accuracy
        note = (
            f"; accuracy {percent(accuracy['exact'])} exact, {percent(accuracy[values])} with {values} values"
        )
    out.result(document, lambda: Text(f"{frozen.explain()}\n\n{path}: {size(n_bytes)}{note}"))


def _accuracy(found: Restored, frozen: Frozen, values: str) -> dict[str, float]:
    """Share of right answers on the run's test samples, before and after rounding."""
    from gossamer.runs.known import check_known
    from gossamer.runs.loop import evaluate
    from gossamer.runs.samples import source_of

    check_known(f"freeze --values {values}", found.config, "data")
    source = source_of(found.config)
    models = {"exact": found.model, values: frozen}
    return {name: evaluate(model, source.testing())[1] for name, model in models.items()}
