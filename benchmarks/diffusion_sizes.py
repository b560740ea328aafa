"""Diffusion convolution by size: one form in a process of its own, for diffusion.py."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median

import torch
from harness import Row
from torch import Tensor, nn

from gossamer.nn import DiffusionConv
from gossamer.nn.transition import adjacency, row_stochastic

fork = multiprocessing.get_context("fork")  # what is imported once is there
HOPS, DEGREE, FEATURES = 2, 8, 16
FORMS = {
    "no threshold": {},
    "threshold before, 0.1": {"threshold_before": 0.1},
    "threshold after, 0.01": {"threshold_after": 0.01},
}


def random_graph(nodes: int) -> Tensor:
    """[2, edges], both directions."""
    generator = torch.Generator().manual_seed(nodes)
    one_way = torch.randint(nodes, (2, nodes * DEGREE // 2), generator=generator)
    return torch.cat([one_way, one_way.flip(0)], 1)


def peak() -> int:
    """The process's high-water mark in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of the processor of a call, the first of which is not counted."""
    taken = []
    for _ in range(repeats + 1):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return round(median(taken[1:]), 6)


def dense_powers(edges: Tensor, nodes: int) -> list[Tensor]:
    """What the published code holds beside the identity."""
    matrix = row_stochastic(adjacency(edges, nodes)).astype("float32")
    first = torch.from_numpy(matrix.toarray())
    return [first, torch.from_numpy(matrix @ first.numpy())]


def measured(case: Row, repeats: int) -> Row:
    """One form at one size, in this process."""
    torch.set_num_threads(1)
    nodes, form = case["nodes"], case["form"]
    edges, x = random_graph(nodes), torch.randn(nodes, FEATURES)
    bare, began = peak(), time.process_time()
    if form == "dense":
        powers = dense_powers(edges, nodes)
        held, kept = sum(power.nbytes for power in powers), [power.numel() for power in powers]
        weight = nn.Parameter(torch.ones(HOPS + 1, FEATURES))

        def forward(features: Tensor) -> Tensor:
            return torch.cat(
                [features * weight[0], *(p @ features * w for p, w in zip(powers, weight[1:], strict=True))],
                1,
            )

    else:
        conv = DiffusionConv(FEATURES, HOPS, **FORMS[form])
        graph = conv.prepare(edges, nodes)
        held, kept = graph.bytes, list(graph.connections)

        def forward(features: Tensor) -> Tensor:
            return conv(features, graph)

    seconds_prepare = time.process_time() - began
    with torch.no_grad():
        seconds_forward = timed(lambda: forward(x), repeats)
    features = x.requires_grad_()
    seconds_step = timed(lambda: forward(features).sum().backward(), repeats)
    return {
        "edges": edges.shape[1],
        "entries": kept,
        "held_bytes": held,
        "seconds_prepare": round(seconds_prepare, 4),
        "seconds_forward": seconds_forward,
        "seconds_forward_backward": seconds_step,
        "bare_bytes": bare,
        "peak_bytes": peak(),
    }


def in_a_process(case: Row, repeats: int, limit: float) -> Row:
    """The same in a process of its own; one that runs out of its memory says so, which is a result."""
    there, here = fork.Pipe()
    child = fork.Process(target=_answer, args=(here, case, repeats, limit))
    child.start()
    here.close()
    try:
        return there.recv()
    except EOFError:
        raise SystemExit(f"diffusion: expected {case} to run, got a process that ended") from None
    finally:
        child.join()


def _answer(here: Connection, case: Row, repeats: int, limit: float) -> None:
    allowed = int(limit * (1 << 30))
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    try:
        here.send(measured(case, repeats))
    except MemoryError:
        here.send({"fits": False})
    except RuntimeError as error:  # torch has no class for it
        if "can't allocate memory" not in str(error):
            raise
        here.send({"fits": False})
