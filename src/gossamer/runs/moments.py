"""Topologies of recorded trainings, moment by moment, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gossamer.nn.connections import topologies
from gossamer.runs import record
from gossamer.runs.folder import restored
from gossamer.runs.kept import kept, read_kept
from gossamer.topology import Topology, distance_matrix, nnstd, null_model
from gossamer.topology.network import pair_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from gossamer.runs.record import Run
    from gossamer.topology import Distance


@dataclass(frozen=True)
class Moment:
    """The topologies of a run at one step.

    Args:
        folder: Path - of the run.
        step: int - optimizer steps taken.
        layers: name -> Topology - in order of computation.
        row: bool - a perceptron: its layers read each other in a row.
        accuracy: float or None - on the test set, where the epoch ended at this step.
    """

    folder: Path
    step: int
    layers: dict[str, Topology]
    row: bool
    accuracy: float | None = None

    @property
    def run(self) -> str:
        """The name of the run's folder."""
        return self.folder.resolve().name

    @property
    def label(self) -> str:
        """What figures and tables call it."""
        return f"{self.run} @ {self.step}"


def last_moment(folder: Path) -> Moment:
    """The topologies in the last checkpoint of a run.

    Args:
        folder: Path.
    Returns:
        Moment.
    Raises:
        FileNotFoundError, FormatError, ConfigError: as ``restored``.
    Cost: building the model, and reading the checkpoint.
    """
    found = restored(folder)
    return _moment(folder, record.read_run(folder), found.step, topologies(found.model))


def moments(folder: Path) -> list[Moment]:
    """All topologies of a run that are on disk: those kept on the way, and that of the last checkpoint.

    Args:
        folder: Path.
    Returns:
        list of Moment - in order of training; one where none was kept.
    Raises:
        FileNotFoundError, FormatError, ConfigError: as ``restored`` and ``read_kept``.
    Cost: reading the files.
    """
    last = last_moment(folder)
    return [*(moment for moment in kept_moments(folder) if moment.step < last.step), last]


def kept_moments(folder: Path) -> list[Moment]:
    """Those kept on the way alone; no model is built."""
    run = record.read_run(folder)
    return [_moment(folder, run, each.step, read_kept(each.path)) for each in kept(folder)]


def _moment(folder: Path, run: Run, step: int, layers: dict[str, Topology]) -> Moment:
    said = {row.step: row.test_accuracy for row in run.metrics}
    return Moment(folder, step, layers, run.document.config.get("model") is None, said.get(step))


@dataclass(frozen=True)
class Comparison:
    """How far moments are apart.

    Args:
        moments: list of Moment.
        distances, unmatched: [moments, moments], float64 - with neurons matched, and as they are numbered.
        last: Distance - between the first moment and the last, layer by layer.
        chance: Distance - between two random topologies with as many connections as these.
        followed: bool - whether matched neurons were followed from layer to layer.
    """

    moments: list[Moment]
    distances: Tensor
    unmatched: Tensor
    last: Distance
    chance: Distance
    followed: bool


def compare(
    found: Sequence[Moment],
    told: Callable[[int, int], None] = lambda _done, _total: None,
    **settings: Any,
) -> Comparison:
    """Measure the distances of moments from each other, and what chance alone would give.

    Args:
        found: moments - at least two.
        told: callable (done, total) - after every pair.
        settings: matching and published, as for ``gossamer.topology.nnstd``.
    Returns:
        Comparison.
    Raises:
        ShapeError: networks of different shapes, with the names of their runs. And what ``nnstd`` raises.
    Cost: that of ``nnstd`` for every pair and one more.
    """
    for moment in found[1:]:
        operation = f"compare {found[0].run} and {moment.run}"
        pair_of(found[0].layers, moment.layers, operation)
    follow = all(moment.row for moment in found)
    layers = [moment.layers for moment in found]
    draw = torch.Generator().manual_seed(0)
    random = [null_model(each, draw) for each in (layers[0], layers[-1])]
    steps = len(found) * (len(found) - 1) // 2 + 2
    distances = distance_matrix(
        layers, follow=follow, told=lambda done, _total: told(done, steps), **settings
    )
    last = nnstd(layers[0], layers[-1], follow=follow, **settings)
    told(steps - 1, steps)
    chance = nnstd(*random, follow=follow, **settings)
    told(steps, steps)
    unmatched = distance_matrix(layers, follow=follow, **{**settings, "matching": "identity"})
    return Comparison(list(found), distances, unmatched, last, chance, follow)
