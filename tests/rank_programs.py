"""What the ranks of the tests of parallel training do; each program runs in every process of a group."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch import distributed as dist

import gossamer as gs
from gossamer import parallel
from gossamer.errors import GossamerError
from gossamer.parallel import Group, Server, Worker
from gossamer.patterns import parse
from gossamer.rules import Rule
from strategies import IN, OPTIMIZERS, OUT, differences, everything, make_model

if TYPE_CHECKING:
    from collections.abc import Callable


def many(group: Group, program: Callable[..., Any], cases: list[tuple[Any, ...]]) -> list[Any]:
    """Several runs of a program in the same processes; the error of one that raised."""
    answers = []
    for case in cases:
        try:
            answers.append(program(replace(group, sent=0, received=0), *case))
        except GossamerError as error:
            answers.append(f"{type(error).__name__}: {error}")
    return answers


def data(step: int, size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The global batch of a step."""
    x = torch.randn(size, IN, generator=torch.Generator().manual_seed(1000 + step)).to(dtype)
    return x, x[:, :OUT] * x[:, OUT : 2 * OUT]


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (model(x) - y).square().mean()


def positions(model: nn.Module) -> list[list[int]]:
    """Connections of every sparse layer."""
    return [m.topology.positions.tolist() for m in model.modules() if hasattr(m, "topology")]


def built(
    pattern: str, seed: int = 0, home: str = "packed", dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    return make_model(home, parse(pattern), dtype, seed)


def convolved(pattern: str, seed: int, home: str, dtype: torch.dtype) -> nn.Sequential:
    """As many inputs and outputs, with convolutions in between."""
    torch.manual_seed(seed)
    layers = [nn.Unflatten(1, (8, 4)), nn.Conv1d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 4, 1)]
    model = nn.Sequential(*layers, nn.Flatten()).to(dtype)
    drawn = torch.Generator().manual_seed(seed)
    gs.sparsify(model, 0.5, parse(pattern), "uniform", home=home, generator=drawn)
    return model


# --- in step ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InStep:
    """A training in step; ``sizes[micro][rank]`` samples in every micro-batch."""

    pattern: str
    rule: Rule
    sizes: list[list[int]]
    home: str = "packed"
    steps: int = 20
    dtype: torch.dtype = torch.float32
    convolutions: bool = False

    def __str__(self) -> str:
        kind = "-convolutions" if self.convolutions else ""
        return f"{self.pattern}-{self.rule.name}-{'-'.join(map(str, self.sizes))}-{self.home}{kind}"

    def model(self, seed: int) -> nn.Sequential:
        if self.convolutions:
            return convolved(self.pattern, seed, self.home, self.dtype)
        return built(self.pattern, seed, self.home, self.dtype)

    def batch(self, step: int, micro: int) -> tuple[Tensor, Tensor]:
        """The global one."""
        return data(step * len(self.sizes) + micro, sum(self.sizes[micro]), self.dtype)


def sequential(case: InStep) -> dict[str, Any]:
    """One process that does the steps of ``in_step``: the mean over ranks of the mean over their samples."""
    model, sizes = case.model(0), case.sizes
    optimizer = OPTIMIZERS["nesterov_wd"](model.parameters())
    engine = gs.attach(model, optimizer, case.rule, total_steps=case.steps)
    losses = []
    for step in range(case.steps):
        optimizer.zero_grad()
        total = 0.0
        for micro, ranks in enumerate(sizes):
            x, y = case.batch(step, micro)
            loss = sum(
                loss_of(model, *part) for part in zip(x.split(ranks), y.split(ranks), strict=True)
            ) / len(ranks)
            (loss / len(sizes)).backward()
            total += float(loss.detach()) / len(sizes)
        optimizer.step()
        losses.append(total)
    return {"positions": positions(model), "losses": losses, "updates": len(engine.history)}


def in_step(group: Group, case: InStep) -> dict[str, Any]:
    """Data parallel training."""
    model, sizes = case.model(group.rank), case.sizes  # rank 0 decides
    whole = parallel.data_parallel(model)
    optimizer = OPTIMIZERS["nesterov_wd"](model.parameters())
    engine = gs.attach(model, optimizer, case.rule, total_steps=case.steps)
    losses = []
    for step in range(case.steps):
        optimizer.zero_grad()
        total = torch.zeros((), dtype=case.dtype)
        for micro, ranks in enumerate(sizes):
            x, y = case.batch(step, micro)
            mine = slice(sum(ranks[: group.rank]), sum(ranks[: group.rank + 1]))
            with nullcontext() if micro == len(sizes) - 1 else whole.no_sync():
                loss = loss_of(whole, x[mine], y[mine])
                (loss / len(sizes)).backward()
            total += loss.detach() / len(sizes)
        optimizer.step()
        losses.append(total)
    everyones = torch.stack(losses)
    dist.all_reduce(everyones)
    return {
        "positions": positions(model),
        "losses": (everyones / group.count).tolist(),
        "updates": len(engine.history),
        "bits": [t.tolist() for t in everything(model, optimizer).values() if isinstance(t, Tensor)],
    }


# --- asynchronous -------------------------------------------------------------------------------------------

LAST = "3"  # the output layer of make_model


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return OPTIMIZERS["nesterov_wd"](model.parameters())


def one_step(model: nn.Module, rank: int, step: int) -> float:
    """Forward and backward on a batch of this rank's own."""
    model.zero_grad()
    loss = loss_of(model, *data(10_000 * rank + step, 16))
    loss.backward()
    return float(loss.detach())


def by_itself(pattern: str, rule: Rule, steps: int) -> dict[str, Any]:
    """The training of worker 1 without a server."""
    model = built(pattern)
    optimizer = optimizer_of(model)
    gs.attach(model, optimizer, rule, total_steps=steps, fixed=[LAST])
    losses = []
    for step in range(steps):
        losses.append(one_step(model, 1, step))
        optimizer.step()
    return {"bits": bits(model, optimizer), "losses": losses}


def bits(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Weights, topology and optimizer state, ready to compare."""
    facts = everything(model, optimizer)
    return {
        key: value.tolist()
        for key, value in facts.items()
        if isinstance(value, Tensor) and "grad/" not in key
    }


def first_phase(group: Group, pattern: str, rule: Rule, steps: int) -> dict[str, Any]:
    """``steps`` gradients of every worker."""
    model = built(pattern)
    if group.rank == 0:
        optimizer = optimizer_of(model)
        server = Server(group, model, optimizer, rule, total_steps=steps * (group.count - 1), fixed=[LAST])
        notes = []
        while (note := server.take()) is not None:
            notes.append(note[0])
        return {
            "bits": bits(model, optimizer),
            "losses": notes,
            "steps": server.steps,
            "moved": [(row.dropped + row.grown) // model[0].grid.members for row in server.engine.history],
            "updates": len({row.step for row in server.engine.history}),
            "connections": [row.connections for row in server.engine.history if row.layer == "0"],
            "bytes": (group.sent, group.received),
        }
    worker = Worker(group, model, rule)
    for step in range(worker.start(), steps):
        worker.step((one_step(model, group.rank, step), 0.0, 0.0))
    worker.leave()
    return {"bits": bits(model), "size": worker.flat.size, "bytes": (group.sent, group.received)}


def two_phases(group: Group, pattern: str, rule: Rule, steps: int, alone: int) -> dict[str, Any]:
    """The same, then ``alone`` steps of every worker by itself, and the average."""
    model = built(pattern)
    if group.rank == 0:
        server = Server(
            group, model, optimizer_of(model), rule, total_steps=steps * (group.count - 1), fixed=[LAST]
        )
        while server.take() is not None:
            pass
        before = [len(layer) for layer in positions(model)]
        while server.collect():
            pass
        server.average()
        return {"positions": positions(model), "before": before, "bits": bits(model), "alone": server.alone}
    worker = Worker(group, model, rule)
    for step in range(worker.start(), steps):
        one_step(model, group.rank, step)
        worker.step()
    worker.leave(optimizer_of(model), total_steps=alone, seed=group.rank, fixed=[LAST])
    silent = group.sent
    for step in range(steps, steps + alone):
        one_step(model, group.rank, step)
        worker.step()
    silent = group.sent - silent
    worker.deliver()
    return {"positions": positions(model), "silent": silent, "bits": bits(model)}


# --- when something goes wrong ------------------------------------------------------------------------------


def unlike(group: Group, way: str) -> None:
    """Rank 1 starts from something else."""
    odd = group.rank == 1
    model = built("fanin", seed=int(odd and way == "values"))
    rule = gs.SET(every=5 if odd and way == "rule" else 4)
    if way.startswith("wasap"):
        rule = gs.SET(every=5 if odd else 4)
        Server(group, model, optimizer_of(model), rule, total_steps=9) if group.rank == 0 else Worker(
            group, model, rule
        )
        return
    if way == "wrapped":
        parallel.data_parallel(built("unstructured" if odd else "fanin"))
    version = "0.0.0" if odd and way == "version" else gs.__version__
    with mock.patch("gossamer.training.ranks.__version__", version):
        gs.attach(model, optimizer_of(model), rule, total_steps=int(odd and way == "steps") + 10)


def wrong_batch(group: Group, mode: str, way: str) -> None:
    """The last rank meets bad data in the middle of a training of ten classes."""
    model, rule = built("unstructured"), gs.SET(every=4)
    optimizer, total = optimizer_of(model), 40
    if mode == "wasap" and group.rank == 0:
        server = Server(group, model, optimizer, rule, total_steps=total, fixed=[LAST])
        while server.take() is not None:
            pass
        return
    worker = Worker(group, model, rule) if mode == "wasap" else None
    if worker:
        worker.start()
    else:
        gs.attach(model, optimizer, rule, total_steps=total)
    whole = model if worker else parallel.data_parallel(model)
    for step in range(total):
        x, y = data(step, 8)
        labels = y.argmax(1)
        if step == 10 and group.rank == group.count - 1:
            x = x[:, :-1] if way == "features" else x * torch.nan if way == "nan" else x
            labels = labels + OUT if way == "labels" else labels
        optimizer.zero_grad()
        nn.functional.cross_entropy(whole(x), labels).backward()
        worker.step() if worker else optimizer.step()


def other_count(group: Group, folder: str) -> None:
    """Rank 0 goes on alone with what both have trained."""
    model = built("fanin")
    optimizer = optimizer_of(model)
    engine = gs.attach(model, optimizer, gs.SET(), total_steps=10)
    path = Path(folder) / "last.safetensors"
    if group.rank == 0:
        gs.save_checkpoint(path, model, optimizer, engine)
        lonely = built("fanin")
        optimizer = optimizer_of(lonely)
        engine = gs.attach(lonely, optimizer, gs.SET(), total_steps=10, in_step=False)
        gs.load_checkpoint(path, lonely, optimizer, engine)


def sharded(group: Group) -> None:
    from torch.distributed.fsdp import fully_shard

    model = built("fanin")
    fully_shard(model)
    gs.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), gs.SET(), total_steps=10)


def stand_still(seconds: float) -> None:
    """Be stopped by the system, so that not even threads of torch go on."""
    me = os.getpid()
    subprocess.Popen(["/bin/sh", "-c", f"sleep {seconds}; kill -CONT {me}"])
    os.kill(me, signal.SIGSTOP)


def silent_in_step(group: Group) -> None:
    """Rank 1 stops answering."""
    model = built("fanin")
    whole = parallel.data_parallel(model)
    for step in range(5):
        if group.rank == 1 and step == 2:
            stand_still(2.5 * group.time_limit)
        loss_of(whole, *data(step, 8)).backward()


def failing(group: Group, who: int, how: str, folder: str) -> None:
    """One of them dies or hangs after a while; the server writes checkpoints."""
    model = built("unstructured")
    rule = gs.SET(every=4)

    def maybe(step: int) -> None:
        if group.rank == who and step == 6:
            if how == "dies":
                os._exit(9)
            stand_still(2.5 * group.time_limit)

    if group.rank == 0:
        optimizer = optimizer_of(model)
        server = Server(group, model, optimizer, rule, total_steps=10_000, fixed=[LAST])
        while server.take() is not None:
            progress = gs.training.Extras(progress={"steps": [*server.steps.values()]})
            gs.save_checkpoint(Path(folder) / "last.safetensors", model, optimizer, server.engine, progress)
            maybe(server.engine.step)
        return
    worker = Worker(group, model, rule)
    for step in range(worker.start(), 5000):
        maybe(step)
        one_step(model, group.rank, step)
        worker.step()
    worker.leave()


def one_fails(group: Group) -> str:
    """Rank 1 cannot do what all have to do."""

    def action() -> str:
        if group.rank == 1:
            raise FileNotFoundError("no such data")
        return "done"

    return group.together("load data", action)


# --- the command line ---------------------------------------------------------------------------------------


class Stopped(GossamerError):
    """A training that is left in the middle."""


def begin_together(group: Group, folder: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What a process that torchrun started does: rank 0 makes the run folder while the others wait."""
    from gossamer.runs.config import read_config
    from gossamer.runs.folder import begin

    def first() -> None:
        if group.rank == 0:
            begin(Path(folder), read_config(None, settings))

    group.together("open the run folder", first)
    return run_member(group, folder)


def joined_twice(group: Group, folder: str, settings: dict[str, Any]) -> list[str]:
    """A run that is refused, in a process that torchrun starts twice."""
    from gossamer.runs.config import read_config
    from gossamer.runs.launch import join

    said = []
    with mock.patch("gossamer.runs.launch.connect", return_value=nullcontext(group)):
        for _ in range(2):
            try:
                join(
                    Path(folder),
                    read_config(None, settings),
                    fresh=False,
                    checkpoint_every=None,
                    quiet=True,
                )
            except GossamerError as error:
                said.append(str(error))
    return said


def unlike_run(group: Group, folder: str, way: str) -> None:
    """Rank 1 has other samples, or another configuration, than rank 0."""
    from gossamer.runs.folder import reopen
    from gossamer.runs.modes import loop_of

    config, samples = reopen(Path(folder))
    if group.rank == 1 and way == "data":
        samples = replace(samples, sha256="0" * 64)
    if group.rank == 1 and way == "configuration":
        config = config.model_copy(update={"seed": 1})
    loop_of(config, samples, group)


def run_member(group: Group, folder: str, stop: int | None = None) -> dict[str, Any] | None:
    """What a process of ``gossamer train --workers`` does; all of them leave after step ``stop``."""
    from gossamer.runs.folder import reopen
    from gossamer.runs.launch import train_in
    from gossamer.runs.modes import loop_of

    loop = loop_of(*reopen(Path(folder)), group)
    steps = loop._epoch

    def until_stop() -> Any:
        for note in steps():
            yield note
            if loop.step == stop:
                raise Stopped("train", expected="the end", got="a stop")

    loop._epoch = until_stop
    return train_in(group, Path(folder), loop, 20, quiet=True)


# --- DistributedDataParallel as trainers wrap models in -------------------------------------------------------


def wrapped_by_hand(group: Group, same: bool) -> list[float]:
    """Losses of a few steps; the ranks draw the same connections, or each its own."""
    model = built("unstructured", seed=0 if same else group.rank)
    whole = nn.parallel.DistributedDataParallel(model)
    optimizer = OPTIMIZERS["nesterov_wd"](model.parameters())
    losses = []
    for step in range(4):
        x, y = data(step, 16)
        mine = slice(8 * group.rank, 8 * (group.rank + 1))
        optimizer.zero_grad()
        loss = loss_of(whole, x[mine], y[mine])
        loss.backward()
        optimizer.step()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(float(total) / dist.get_world_size())
    return losses


def compacted_in_a_wrapper(group: Group) -> list[Any]:
    """What compact says of a wrapped model and changes in it, and whether it works without the wrapper."""
    model = built("unstructured")
    gs.prune_neurons(model, 0.5)
    whole, before, said = nn.parallel.DistributedDataParallel(model), everything(model), ""
    try:
        gs.compact(model)
    except GossamerError as error:
        said = str(error)
    unchanged = not differences(before, everything(model))
    del whole
    return [said, unchanged, gs.compact(model)]
