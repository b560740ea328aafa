"""The processes of a parallel training: how they find each other, talk, and notice that one is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from gossamer.errors import ConfigError, GossamerError, RankError
from gossamer.parallel.meeting import name_of_start
from gossamer.training.ranks import talking

T = TypeVar("T")

# Groups that were left. DDP would free its group with the interpreter locked and wait for a thread that needs the lock:
# after an error, for ever. So DDP never holds the last reference.
_left: list[Any] = []


@dataclass
class Group:
    """The processes of a training, seen from one of them; from ``connect``.

    Args:
        rank: int - of this process.
        count: int - processes.
        time_limit: float - seconds after which one that has not answered counts as gone.
        store: Store - the launcher's; what is set there outlives the processes and is seen by those started after them.
        sent, received: int - bytes of the messages so far.
    """

    rank: int
    count: int
    time_limit: float
    store: Store
    sent: int = 0
    received: int = 0

    def send(self, message: Tensor, rank: int) -> None:
        """Send a tensor on the CPU to a rank; raises RankError."""
        with talking(f"send to rank {rank}"):
            dist.send(message, rank)
        self.sent += message.nbytes

    def receive(self, message: Tensor, rank: int) -> None:
        """Fill a tensor on the CPU with what a rank sent; raises RankError."""
        with talking(f"receive from rank {rank}"):
            dist.recv(message, rank)
        self.received += message.nbytes

    def ask(self, message: Tensor, answer: Tensor, rank: int) -> None:
        """Send a message to a rank and fill a tensor, offered beforehand, with the answer; raises RankError."""
        with talking(f"receive from rank {rank}"):
            coming = _offer(answer, rank)
            self.send(message, rank)
            coming.wait()
        self.received += answer.nbytes

    def together(self, operation: str, action: Callable[[], T]) -> T:
        """What an action returns here, once it has succeeded on every rank.

        Args:
            operation: str - named in errors.
            action: callable - its GossamerError or OSError stops every rank.
        Raises:
            RankError: it failed on another rank. Its own error where it failed here.
        Cost: one exchange.
        """
        problem, done = None, None
        try:
            done = action()
        except (GossamerError, OSError) as error:
            problem = error
        sentences: list[Any] = [None] * self.count
        with talking(operation):
            dist.all_gather_object(sentences, str(problem) if problem else None)
        if problem:
            raise problem
        for rank, sentence in enumerate(sentences):
            if sentence:
                raise RankError(
                    operation, expected="success on every rank", got=f"on rank {rank}: {sentence}"
                )
        return done  # type: ignore[return-value]


class Inbox:
    """Messages from several ranks in the order they come, each in a tensor that was offered to its sender beforehand.

    gloo writes to the socket at once where the other side has offered room. Otherwise they first have to agree, which
    wakes four threads; and one that wakes up on the core of the thread that is speaking spins until the scheduler takes
    it off. Here a thread for each rank waits, since gloo cannot wait for several named ones.

    Args:
        time_limit: float - seconds until a rank that was offered room counts as silent; that of the group.
        ranks: iterable of int - the senders.
    """

    def __init__(self, time_limit: float, ranks: Iterable[int]) -> None:
        self.time_limit = time_limit
        self._offered: dict[int, SimpleQueue[dist.Work]] = {rank: SimpleQueue() for rank in ranks}
        self._since: dict[int, float] = {}  # when the offers that are still open were made
        self._came: SimpleQueue[tuple[int, RuntimeError | None]] = SimpleQueue()
        for rank in self._offered:
            Thread(target=self._wait, args=(rank,), daemon=True).start()

    def offer(self, message: Tensor, rank: int) -> None:
        """Take the next message of a rank, at most as long as this tensor, into it; raises RankError."""
        self._since[rank] = time.monotonic()
        with talking(f"receive from rank {rank}"):
            self._offered[rank].put(_offer(message, rank))

    def next(self) -> int:
        """Wait until a tensor that was offered is filled; the sender. Raises RankError: one is gone or silent."""
        since, now = dict(self._since), time.monotonic()  # a copy: the threads close offers
        oldest = min(since, key=since.__getitem__, default=0)
        left = self.time_limit - (now - since.get(oldest, now))
        if left <= 0:  # others may go on talking while one is gone
            raise self._silence(oldest)
        try:
            rank, error = self._came.get(timeout=left)
        except Empty:
            raise self._silence(oldest) from None
        with talking(f"receive from rank {rank}"):
            if error:
                raise error
        return rank

    def _silence(self, rank: int) -> RankError:
        return RankError(
            "receive",
            expected=f"a message from every rank within {self.time_limit:g} seconds",
            got=f"nothing from rank {rank}",
            hint="it died or hangs: start again from the last checkpoint, or raise the time limit",
        )

    def _wait(self, rank: int) -> None:
        error: RuntimeError | None = None
        patience = timedelta(seconds=2 * self.time_limit)  # ``next`` says it better than gloo does
        while error is None:
            coming = self._offered[rank].get()
            try:
                coming.wait(patience)
                del self._since[rank]
            except RuntimeError as raised:
                error = raised
            self._came.put((rank, error))


def _offer(message: Tensor, rank: int) -> dist.Work:
    """Room for the next message of a rank."""
    coming = dist.irecv(message, rank)
    assert coming is not None  # noqa: S101 (every process is in the group)
    return coming


@contextmanager
def connect(time_limit: float = 60.0, where: str = "env://") -> Iterator[Group]:
    """Join the processes that torchrun, or ``gossamer train --workers``, started; leave them at the end.

    Every wait inside has the time limit, so that a rank that died or hangs becomes an error on all others. Choose one
    longer than the longest thing a rank does alone: a step, an evaluation, writing a checkpoint.

    Args:
        time_limit: float - seconds.
        where: str - the meeting point, as ``torch.distributed.init_process_group`` takes it.
    Returns:
        Group - of a context manager. NCCL where every process has a GPU of its own, gloo otherwise.
    Raises:
        ConfigError: the process was not started as one of several.
        RankError: a rank did not come, died, or is silent; also for errors of torch.distributed inside the block.
    Cost: one meeting.
    Example:
        >>> with connect(time_limit=5):
        ...     pass
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: connect: expected RANK and WORLD_SIZE in the environment, got none; start ...
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        raise ConfigError(
            "connect",
            expected="RANK and WORLD_SIZE in the environment",
            got="none",
            hint="start the program with torchrun, or use gossamer train --workers",
        )
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_RANK", rank))
    own_gpu = int(os.environ.get("LOCAL_WORLD_SIZE", count)) <= torch.cuda.device_count()
    if own_gpu:
        torch.cuda.set_device(local)
    limit = timedelta(seconds=time_limit)
    with talking("connect"):
        store = next(iter(rendezvous(where, rank, count, timeout=limit)))[0]
        store.set_timeout(limit)
        start = PrefixStore(name_of_start(store, rank, count, time_limit), store)
        backend = "cuda:nccl,cpu:gloo" if own_gpu else "gloo"
        dist.init_process_group(backend, store=start, rank=rank, world_size=count, timeout=limit)
    try:
        yield Group(rank, count, time_limit, store)
    except RuntimeError as error:
        if isinstance(error, GossamerError) or not _of_torch(error):
            raise
        with talking("parallel training"):
            raise
    finally:
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()


def _of_torch(error: RuntimeError) -> bool:
    """Whether torch.distributed raised it; gloo has no error class of its own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
