"""What the ranks of the tests of parallel training do; each program runs in every process of a group."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from strategies import IN, OPTIMIZERS, OUT, everything, make_model
from torch import Tensor, nn
from torch import distributed as dist

import gossamer as gs
from gossamer import parallel
from gossamer.parallel import Group, Server, Worker
from gossamer.patterns import parse
from gossamer.rules import Rule

if TYPE_CHECKING:
    from gossamer.training import Engine

STEPS = 20


def data(step: int, size: int) -> tuple[Tensor, Tensor]:
    """The global batch of a step."""
    x = torch.randn(size, IN, generator=torch.Generator().manual_seed(1000 + step))
    return x, x[:, :OUT] * x[:, OUT : 2 * OUT]


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (model(x) - y).square().mean()


def positions(model: nn.Module) -> list[list[int]]:
    """Connections of every sparse layer."""
    return [m.topology.positions.tolist() for m in model.modules() if hasattr(m, "topology")]


def built(pattern: str, seed: int = 0, home: str = "packed") -> nn.Sequential:
    return make_model(home, parse(pattern), seed=seed)


# --- in step ------------------------------------------------------------------------------------------------


def sequential(pattern: str, rule: Rule, sizes: list[list[int]], home: str = "packed") -> dict[str, Any]:
    """One process that does the steps of ``in_step``: the mean over ranks of the mean over their samples."""
    model = built(pattern, home=home)
    optimizer = OPTIMIZERS["nesterov_wd"](model.parameters())
    engine = gs.attach(model, optimizer, rule, total_steps=STEPS)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        total = 0.0
        for micro, ranks in enumerate(sizes):
            x, y = data(step * len(sizes) + micro, sum(ranks))
            loss = sum(loss_of(model, *part) for part in zip(x.split(ranks), y.split(ranks), strict=True)) / len(ranks)
            (loss / len(sizes)).backward()
            total += float(loss.detach()) / len(sizes)
        optimizer.step()
        losses.append(total)
    return {"positions": positions(model), "losses": losses, "updates": len(engine.history)}


def in_step(group: Group, pattern: str, rule: Rule, sizes: list[list[int]], home: str = "packed") -> dict[str, Any]:
    """Data parallel training; ``sizes[micro][rank]`` samples in every micro-batch."""
    model = built(pattern, seed=group.rank, home=home)  # rank 0 decides
    whole = parallel.data_parallel(model)
    optimizer = OPTIMIZERS["nesterov_wd"](model.parameters())
    engine = gs.attach(model, optimizer, rule, total_steps=STEPS)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        total = torch.zeros(())
        for micro, ranks in enumerate(sizes):
            x, y = data(step * len(sizes) + micro, sum(ranks))
            mine = slice(sum(ranks[: group.rank]), sum(ranks[: group.rank + 1]))
            with nullcontext() if micro == len(sizes) - 1 else whole.no_sync():
                loss = loss_of(whole, x[mine], y[mine])
                (loss / len(sizes)).backward()
            total += loss.detach() / len(sizes)
        optimizer.step()
        dist.all_reduce(total)
        losses.append(float(total) / group.count)
    return {
        "positions": positions(model),
        "losses": losses,
        "updates": len(engine.history),
        "bits": [t.tolist() for t in everything(model, optimizer).values() if isinstance(t, Tensor)],
    }


def many_in_step(group: Group, cases: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Several trainings in the same processes."""
    return [in_step(group, *case) for case in cases]
