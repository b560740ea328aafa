"""Runs a program on several ranks: every rank a process, with a time limit, and its result or its error."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PATIENCE = 60.0  # seconds until a rank counts as hanging: far beyond any time limit in the programs

context = multiprocessing.get_context("forkserver")
# What takes long to import; torch itself imports its compiler when the first optimizer is made.
context.set_forkserver_preload(
    ["gossamer.runs.launch", "hypothesis.strategies", "torch._dynamo", "torch.utils.tensorboard"]
)


def run_ranks(
    program: Callable[..., Any],
    count: int,
    *arguments: Any,
    time_limit: float = 20.0,
    patience: float = PATIENCE,
) -> list[Any]:
    """Results of ``program(group, *arguments)`` by rank; the text of the error that it raised, None where killed.

    Raises:
        AssertionError: a rank hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        ranks = [
            context.Process(
                target=_rank, args=(n, count, meeting, time_limit, pipes[n][1], program, arguments)
            )
            for n in range(count)
        ]
        for rank in ranks:
            rank.start()
        for _, theirs in pipes:
            theirs.close()
        try:
            return [_result(n, ours, patience) for n, (ours, _) in enumerate(pipes)]
        finally:
            for rank in ranks:
                rank.kill()
                rank.join()


def _result(rank: int, pipe: Connection, patience: float) -> Any:
    assert pipe.poll(patience), f"rank {rank} hangs"
    try:
        return pipe.recv()
    except EOFError:
        return None


def _rank(
    rank: int, count: int, meeting: str, time_limit: float, pipe: Connection, program: Any, arguments: Any
) -> None:
    import torch

    from gossamer.errors import GossamerError
    from gossamer.parallel import connect

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        with connect(time_limit, meeting) as group:
            answer = program(group, *arguments)
    except GossamerError as error:
        answer = f"{type(error).__name__}: {error}"
    except BaseException:
        answer = traceback.format_exc()
    pipe.send(answer)
    pipe.close()
