"""What is measured of the model behind every stage."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gossamer import measure
from gossamer.freezing import Frozen
from gossamer.nn.report import report_on
from gossamer.runs.facts import layer_facts
from gossamer.runs.loop import evaluate

if TYPE_CHECKING:
    from gossamer.recipes.stages import Work

SECONDS = 1.0  # of timing, behind every stage


def facts(work: Work) -> dict[str, Any]:
    """Accuracy, connections, bytes, and the time of one sample beside the network the recipe began with.

    Args:
        work: Work.
    Returns:
        dict - JSON-ready. ``bytes``: of parameters, indices and buffers in memory, of a frozen network its file.
    Cost: an evaluation of the test set, and a second of timing.
    """
    loss, accuracy = evaluate(work.model, work.samples.testing())
    layers = layer_facts(work.model, work.shape)
    return {
        "accuracy": accuracy,
        "loss": loss,
        "connections": sum(layer["connections"] for layer in layers),
        "density": sum(layer["connections"] for layer in layers)
        / max(1, sum(layer["shape"][0] * layer["shape"][1] for layer in layers)),
        "bytes": _bytes(work),
        **_times(work),
        "digest": digest(work.model),
    }


@torch.no_grad()
def _times(work: Work) -> dict[str, float]:
    """Median milliseconds of one sample, of the model and of the dense one, in turns."""
    x = torch.randn(1, *work.shape, generator=torch.Generator().manual_seed(0))
    models = {"milliseconds": work.model.eval(), "dense_milliseconds": work.original.eval()}
    with measure.threads(work.recipe.threads or torch.get_num_threads()):
        found = measure.alternate({name: partial(m, x) for name, m in models.items()}, seconds=SECONDS)
    return {name: 1e3 * timing.median for name, timing in found.items()}


def _bytes(work: Work) -> int:
    """Of a file that was written, else of what is held."""
    if work.file is not None:
        return work.file.stat().st_size
    report = report_on(work.model, {}, 0)
    held = sum(row.bytes for row in report.layers)
    return held + measure.nbytes(
        [p for row in report.others for p in work.model.get_submodule(row.name).parameters()]
    )


def digest(model: nn.Module) -> str:
    """SHA-256 of the numbers of a model; of a frozen network, whose file holds them, of nothing."""
    found = sha256()
    if not isinstance(model, Frozen):
        for name, tensor in sorted(model.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
