"""The training loop in several processes: in step, or with a server and its workers."""

from __future__ import annotations

import time
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import distributed as dist

from gossamer.errors import ConfigError
from gossamer.nn.kinds import is_layer
from gossamer.nn.sparse import SparseModule
from gossamer.parallel import Server, Worker, check_wasap, data_parallel, scaled_rate
from gossamer.runs import record
from gossamer.runs.build import build_engine, build_rule, learning_rate
from gossamer.runs.config import DENSE
from gossamer.runs.loop import Loop
from gossamer.runs.recorder import Timer
from gossamer.training import Note
from gossamer.training.ranks import Ranks, facts_of, talking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from gossamer.parallel import Group
    from gossamer.rules import Rule
    from gossamer.runs.config import ParallelConfig, RunConfig
    from gossamer.runs.loop import Row, Watcher
    from gossamer.runs.samples import Source
    from gossamer.training import Engine


def loop_of(config: RunConfig, samples: Source, group: Group) -> Loop:
    """The loop of this process in a training with several.

    Args:
        config: RunConfig - the same in every process.
        samples: Source - the same.
        group: Group - as many processes as the configuration says.

    Returns:
        Loop.

    Raises:
        ConfigError: another number of processes, or processes that differ.
    """
    parallel = _parallel(config)
    if group.count != parallel.processes:
        raise ConfigError(
            f"train --mode {parallel.mode}",
            expected=f"{parallel.processes} processes for {parallel.workers} workers",
            got=str(group.count),
            hint="a run goes on with as many as it began with",
        )
    Ranks().agree("train", lambda: {"configuration": config.model_dump(mode="json"), "data": samples.sha256})
    if parallel.mode != "wasap":
        return InStepLoop(config, samples, group)
    return (WorkerLoop if group.rank else ServerLoop)(config, samples, group)


def check_parallel(config: RunConfig, model: nn.Module) -> None:
    """Refuse what the mode cannot train before anything is written or started; raises ConfigError."""
    if config.parallel and config.parallel.mode == "wasap":
        check_wasap(model, _rule(config))


class _Member(Loop):
    """A loop that is one of several."""

    def __init__(self, config: RunConfig, samples: Source, group: Group) -> None:
        self.group, self.parallel = group, _parallel(config)
        self.count = self.parallel.workers
        super().__init__(config, samples)

    def _threads(self) -> int:
        """An equal share."""
        return max(1, super()._threads() // self.group.count)

    def _give_back(self) -> None:
        """Nothing: buckets and messages have the size that the layers were built with."""


class InStepLoop(_Member):
    """DDP and WASSP-SGD: every process has a part of the samples, and all have the same model after every step."""

    def __init__(self, config: RunConfig, samples: Source, group: Group) -> None:
        self.part, self.parts = group.rank, group.count
        super().__init__(config, samples, group)

    def _wrapped(self, model: nn.Module) -> nn.Module:
        return data_parallel(model)

    def _attached(self) -> Engine | None:
        return build_engine(self.config, self.model, self.optimizer, self.total, in_step=True)

    def _rate(self) -> float:
        rate = super()._rate()
        if self.parallel.mode == "ddp":
            return rate
        return scaled_rate(rate, self.count, self.step / self.per_epoch)

    def _shared(self, note: Note) -> Note:
        total = torch.tensor(note, dtype=torch.float64)
        with talking("training step"):
            dist.all_reduce(total)
        return Note(*total.tolist())

    def _workers(self) -> list[int]:
        return [self.step] * self.count


class _Asynchronous(_Member):
    """What server and workers share: when the first phase ends, and that the output layer keeps its topology."""

    @property
    def switch(self) -> int:
        """Steps of the first phase, of this process."""
        return (self.config.epochs - round(self.parallel.alone * self.config.epochs)) * self.per_epoch

    def _fixed(self) -> list[str]:
        last = [name for name, module in self.model.named_modules() if is_layer(module)][-1]
        return [last] if isinstance(self.model.get_submodule(last), SparseModule) else []


class ServerLoop(_Asynchronous):
    """The server of WASAP-SGD: a step is a gradient of some worker, an epoch as many as all have for one."""

    def _steps_per_epoch(self) -> int:
        return self.count * ceil(self.samples.count // self.count / self.config.batch)

    def _attached(self) -> Engine | None:
        self.server = Server(
            self.group,
            self.model,
            self.optimizer,
            _rule(self.config),
            total_steps=self.total,
            seed=self.config.seed,
            fixed=self._fixed(),
        )
        return self.server.engine

    def run(self, watcher: Watcher | None) -> None:
        """Serve to the end; the workers leave last."""
        super().run(watcher)
        self.server.take()

    def _epoch(self) -> Iterator[Note]:
        if self.step >= self.switch:
            yield self._second_phase()
            return
        for _ in range(self.per_epoch - self.step % self.per_epoch):
            began = time.perf_counter()
            self._set_rate()
            if (note := self.server.take()) is None:
                raise ConfigError("WASAP", expected=f"{self.switch} gradients", got=str(self.step))
            self.seconds += time.perf_counter() - began
            yield Note(*note)

    def _second_phase(self) -> Note:
        """Wait for the models of the workers, average them, and stand before the last step."""
        began = time.perf_counter()
        while self.server.collect():
            pass
        self.server.average()
        own_total = self.total // self.count  # a worker that resumes is told that it is done
        self.server.steps = dict.fromkeys(self.server.workers, own_total)
        self.step = self.total - 1
        self.seconds += time.perf_counter() - began
        return Note(*(sum(numbers) for numbers in zip(*self.server.notes.values(), strict=True)))

    def _workers(self) -> list[int]:
        return list(self.server.steps.values())

    def _resumed(self, workers: list[int]) -> None:
        self.server.steps = dict(zip(self.server.workers, workers, strict=True))


class WorkerLoop(_Asynchronous):
    """A worker of WASAP-SGD: gradients for the server first, then by itself."""

    def __init__(self, config: RunConfig, samples: Source, group: Group) -> None:
        self.part, self.parts = group.rank - 1, group.count - 1
        self._own: Path | None = None  # checkpoint, once alone
        super().__init__(config, samples, group)

    def _attached(self) -> Engine | None:
        self.worker = Worker(self.group, self.model, _rule(self.config))
        return None

    def resume(self, folder: Path, checkpoint_every: int | None) -> None:
        """The server tells, as long as it has the model; then a checkpoint of this worker's own does."""
        self.folder, self.timer = folder, Timer(checkpoint_every)

    def run(self, watcher: Watcher | None) -> None:
        """Train to the end from where the server says."""
        self.step = self.worker.start()
        super().run(watcher or self)
        if self._own:
            self.worker.deliver(self._last)
        else:  # there is no second phase, or the run was over before
            self.worker.leave()

    def after_step(self, _loop: Loop) -> None:
        """Save where it is time to, once alone."""
        if self._own and self.timer.due(self.step):
            self.save(self._own)
            self.timer.saved()

    def after_epoch(self, _loop: Loop, _row: Row) -> None:
        """The same; after the last epoch the model is delivered."""
        if self.step < self.total:
            self.after_step(self)

    def _rate(self) -> float:
        """That of the server when it has taken as many samples."""
        steps = (number * self.count for number in (self.step, self.total, self.per_epoch))
        return learning_rate(self.config.optimizer, self.config.schedule, *steps)

    def _finish_epoch(self) -> Row:
        """The server evaluates."""
        return {}

    def _epoch(self) -> Iterator[Note]:
        if self.step == self.switch:
            self._go_alone()
        yield from super()._epoch()

    def _go_alone(self) -> None:
        """Leave the server; go on from a checkpoint of this worker's own, if one began where it begins now."""
        begun = sha256(repr(facts_of(self.model)).encode()).hexdigest()[:16]
        self._own = self.folder / record.WORKER.format(f"{self.group.rank}-{begun}")
        self.worker.leave(
            self.optimizer,
            total_steps=self.total - self.switch,
            seed=self.config.seed + self.group.rank,
            fixed=self._fixed(),
        )
        self.engine = self.worker.engine
        if self._own.is_file():
            self.restore(self._own)
            self.worker.alone = self.step - self.switch

    def _advance(self, note: Note) -> None:
        self.worker.step(note)
        self._last = self.so_far.plus(note)


def _parallel(config: RunConfig) -> ParallelConfig:
    """The settings of several processes, which are there."""
    assert config.parallel is not None  # noqa: S101 (our own bug)
    return config.parallel


def _rule(config: RunConfig) -> Rule | None:
    """The rule of a configuration, none for a dense network."""
    return None if config.pattern == DENSE else build_rule(config)
