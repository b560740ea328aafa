"""Data parallel training over 1000 topology updates: the topologies of all ranks, and the loss beside one process.

One process takes the global batch; K ranks take a K-th of it each. Sums are added up in another order, nothing else:
in float64 the loss stays the same to about 15 digits. In float32 a rounding may decide which of two nearly equal
connections goes; ranks exchange what they score, so that even then they stay alike, if not like one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from typing import Any

import torch
from harness import arguments, gather, pin, record
from torch import distributed as dist
from torch.nn.functional import cross_entropy

import gossamer as gs
from gossamer import data, parallel
from gossamer.patterns import parse

UPDATES, BATCH = 1000, 32
RULES = {"set": (gs.SET, "unstructured"), "rigl": (gs.RigL, "unstructured"), "srigl": (gs.SRigL, "fanin")}


def train(rule: str, dtype: torch.dtype, group: parallel.Group | None) -> dict[str, Any]:
    """Losses, and a digest of all topologies after every update; of one process or of one of several."""
    part, parts = (group.rank, group.count) if group else (0, 1)
    kind, pattern = RULES[rule]
    x, y, _, _ = data.load("digits").tensors(flatten=True, standardize=True)
    x = x.to(dtype)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 10),
    ).to(dtype)
    gs.sparsify(model, 0.25, parse(pattern), generator=torch.Generator().manual_seed(0))
    whole = parallel.data_parallel(model) if group else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    often = kind(every=1, until=1.0, drop=gs.Constant(0.1))
    engine = gs.attach(model, optimizer, often, total_steps=UPDATES + 1)
    losses, topologies = [], sha256()
    for step in range(UPDATES + 1):
        picked = torch.randint(len(x), (BATCH,), generator=torch.Generator().manual_seed(step))
        own = picked.chunk(parts)[part]
        optimizer.zero_grad()
        loss = cross_entropy(whole(x[own]), y[own])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        for layer in model[::2]:
            topologies.update(layer.topology.positions.numpy().tobytes())
    everyones = torch.stack(losses)
    if group:
        dist.all_reduce(everyones)
    moved = sum(change.grown for change in engine.history)
    updates = len({change.step for change in engine.history})
    return {
        "losses": (everyones / parts).tolist(),
        "topologies": topologies.hexdigest()[:16],
        "updates": updates,
        "grown": moved,
    }


def member(rule: str, dtype: str) -> None:
    """A process that torchrun started."""
    torch.set_num_threads(1)
    with parallel.connect(time_limit=120) as group:
        answers: list[Any] = [None] * group.count
        dist.all_gather_object(answers, train(rule, getattr(torch, dtype), group))
        if group.rank == 0:
            print(json.dumps(answers))


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Several ranks beside one process."""
    torch.set_num_threads(1)
    alone = train(case["rule"], getattr(torch, case["dtype"]), None)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case["ranks"])]
    command = [sys.executable, *launcher, __file__, "--rule", case["rule"], "--dtype", case["dtype"]]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (ourselves)
    ranks = json.loads(run.stdout.splitlines()[-1])
    pairs = list(zip(ranks[0]["losses"], alone["losses"], strict=True))
    return {
        "updates": ranks[0]["updates"],
        "grown": ranks[0]["grown"],
        "topologies_of_ranks": [rank["topologies"] for rank in ranks],
        "topologies_of_one_process": alone["topologies"],
        "largest_loss_difference": max(abs(ours - theirs) for ours, theirs in pairs),
        "largest_relative_difference": max(abs(ours - theirs) / theirs for ours, theirs in pairs),
        "first_loss": alone["losses"][0],
        "last_loss": sum(alone["losses"][-50:]) / 50,
    }


def main() -> None:
    """Every rule on 2 and on 4 ranks, in both precisions."""
    options = arguments(__doc__ or "", cores="0,1", fresh=False, rule="", dtype="")
    if options.rule:
        member(options.rule, options.dtype)
        return
    pin(options.cores)
    cases = [
        {"rule": rule, "ranks": ranks, "dtype": dtype}
        for dtype in ("float64", "float32")
        for rule in RULES
        for ranks in (2, 4)
    ]
    rows = gather("ddp_updates", cases, measure, fresh=options.fresh)
    record("ddp_updates", {"batch": BATCH, "tolerance": "order of sums only", "rows": rows})


if __name__ == "__main__":
    main()
