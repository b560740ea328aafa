"""Starts the processes of a parallel training, and is what each of them runs."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gossamer import plugins
from gossamer.errors import RankError
from gossamer.parallel import connect
from gossamer.runs.execute import record
from gossamer.runs.folder import begin, forget_workers, reopen
from gossamer.runs.modes import loop_of
from gossamer.runs.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.parallel import Group
    from gossamer.runs.config import RunConfig
    from gossamer.runs.loop import Loop
    from gossamer.runs.samples import Source


BEGUN = "gossamer/begun"  # in the launcher's store: processes that are started again go on with the run of the first
GO_ON = "the run folder has the last checkpoint: go on with --resume"

# Imported once, for all processes and all their restarts; torch itself imports its compiler for the first optimizer.
SLOW_IMPORTS = ["gossamer.runs.launch", "torch._dynamo", "torch.utils.tensorboard"]


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(
    folder: Path, config: RunConfig, *, checkpoint_every: int | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Train in the processes that a configuration asks for; those that fail go on from the last checkpoint.

    Args:
        folder: Path - a run folder, from ``begin`` or ``reopen``.
        config: RunConfig - from there too.
        checkpoint_every: int or None - also save every so many steps.
        quiet: bool - no progress.

    Returns:
        dict - the summary, which is also on disk.

    Raises:
        RankError: processes failed more often than ``parallel.restarts``, with what the first of them said; or a signal
            asked for the end.
    Cost: the training, and starting the processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    parallel = config.parallel
    assert parallel is not None  # noqa: S101 (our own bug)
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=parallel.processes,
        run_id=folder.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=parallel.restarts,
        monitor_interval=0.2,
        start_method="forkserver",
    )
    multiprocessing.set_forkserver_preload(SLOW_IMPORTS)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what they say is in the error
    try:
        answers: dict[int, dict[str, Any]] = elastic_launch(settings, member)(
            str(folder), checkpoint_every, quiet, plugins.files()
        )
    except ChildFailedError as error:
        raise _sentence(error, parallel.restarts) from None
    except SignalException as stop:
        raise RankError(
            "train", expected="the processes to finish", got=stop.sigval.name, hint=GO_ON
        ) from None
    return answers[0]


def member(
    folder: str, checkpoint_every: int | None, quiet: bool, plug_ins: list[str]
) -> dict[str, Any] | None:
    """One of the processes that ``launch`` starts, with the plug-ins of that one; the summary, from rank 0."""
    for file in plug_ins:
        plugins.load_file(file)
    return take_part(lambda _group: reopen(Path(folder)), Path(folder), checkpoint_every, quiet=quiet)


def join(
    folder: Path, config: RunConfig | None, *, fresh: bool, checkpoint_every: int | None, quiet: bool
) -> dict[str, Any] | None:
    """Be one of the processes that torchrun started.

    Args:
        folder: Path - the same in all of them.
        config: RunConfig or None - None: go on with the run in the folder, as after a restart.
        fresh: bool - delete the run that is there.
        checkpoint_every: int or None - also save every so many steps.
        quiet: bool - no progress; rank 0 alone shows it.

    Returns:
        dict or None - the summary, from rank 0.

    Raises:
        GossamerError: as ``begin``, ``reopen`` and the training, on every rank.
    """

    def opened(group: Group) -> tuple[RunConfig, Source]:
        if group.rank or config is None or group.store.check([BEGUN]):
            return reopen(folder)
        made = begin(folder, config, fresh=fresh)
        group.store.set(BEGUN, "")
        return made

    return take_part(opened, folder, checkpoint_every, config, quiet=quiet)


def take_part(
    opened: Callable[[Group], tuple[RunConfig, Source]],
    folder: Path,
    checkpoint_every: int | None,
    config: RunConfig | None = None,
    *,
    quiet: bool,
) -> dict[str, Any] | None:
    """Open the run folder, rank 0 first, and train; the summary, from rank 0."""
    settings = (config or reopen(folder)[0]).parallel
    with connect(settings.time_limit if settings else 60.0) as group:
        first = group.together("open the run folder", lambda: None if group.rank else opened(group))
        checked, samples = group.together("open the run folder", lambda: first or opened(group))
        return train_in(group, folder, loop_of(checked, samples, group), checkpoint_every, quiet=quiet)


def train_in(
    group: Group, folder: Path, loop: Loop, checkpoint_every: int | None, *, quiet: bool
) -> dict[str, Any] | None:
    """Train from the last checkpoint in a folder, if there is one, to the end; the summary, from rank 0."""
    if group.rank == 0:
        with progress_bar(Console(stderr=True, highlight=False, soft_wrap=True), quiet=quiet) as progress:
            summary = record(folder, loop, progress, "training", checkpoint_every, group.together)
        forget_workers(folder)
        return summary
    group.together("resume", lambda: loop.resume(folder, checkpoint_every))
    loop.run(None)
    return None


def _sentence(error: Any, restarts: int) -> RankError:
    """What the first process that failed said."""
    rank, failure = error.get_first_failure()
    said = failure.message["message"] if isinstance(failure.message, dict) else failure.message
    return RankError(
        "train",
        expected=f"processes that fail at most {restarts} times",
        got=f"rank {rank}: {said}",
        hint=GO_ON,
    )
