"""Synchronous training: every rank has the same topology, and together they are one process with the global batch."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from processes import run_ranks
from rank_programs import InStep, in_step, many, sequential

EVEN, UNEVEN = [[8, 8]], [[8, 5]]
ACCUMULATED = [[4, 4], [4, 2]]
CASES = [
    InStep("unstructured", gs.SET(every=4), EVEN),
    InStep("unstructured", gs.RigL(every=4), EVEN),
    InStep("unstructured", gs.RigL(every=4), UNEVEN),
    InStep("unstructured", gs.RigL(every=4), ACCUMULATED),
    InStep("fanin", gs.SRigL(every=4), ACCUMULATED),
    InStep("fanin:4", gs.RigL(every=4), UNEVEN),
    InStep("nm:1:8", gs.SRigL(every=4, gamma=None), UNEVEN),
    InStep("unstructured", gs.RigL(every=4), ACCUMULATED, "masked"),
    InStep("fanin:4", gs.RigL(every=4), UNEVEN, convolutions=True),
    InStep("block:4", gs.GroupLasso(every=3, lam=0.4, ramp=gs.RampPruning(every=2)), ACCUMULATED),
]


@pytest.fixture(scope="module")
def trained():
    """All cases on two ranks."""
    answers = run_ranks(many, 2, in_step, [(case,) for case in CASES])
    assert not [answer for rank in answers for answer in rank if isinstance(answer, str)]
    return list(zip(*answers, strict=True))


@pytest.mark.parametrize("number", range(len(CASES)), ids=map(str, CASES))
def test_every_rank_has_the_same_bits(trained, number):
    first, second = trained[number]
    assert first["updates"] >= 6
    assert first["positions"] == second["positions"]
    assert first["bits"] == second["bits"]


@pytest.mark.parametrize("number", range(len(CASES)), ids=map(str, CASES))
def test_together_they_are_one_process_with_the_global_batch(trained, number):
    alone, first = sequential(CASES[number]), trained[number][0]
    assert first["updates"] == alone["updates"]
    assert first["positions"] == alone["positions"]
    torch.testing.assert_close(
        torch.tensor(first["losses"]), torch.tensor(alone["losses"]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "pattern", "rule", "updates"), [(2, "unstructured", gs.RigL, 1000), (4, "fanin", gs.SRigL, 200)]
)
def test_many_updates_leave_every_rank_with_the_topology_of_one_process(ranks, pattern, rule, updates):
    """In float64, so that losses differ by the order of sums alone: by less than 1e-9 of their size."""
    often = rule(every=1, until=1.0, drop=gs.Constant(0.1))
    case = InStep(pattern, often, [[2] * ranks], steps=updates + 1, dtype=torch.float64)
    alone, (first, *others) = sequential(case), run_ranks(in_step, ranks, case, patience=300.0)
    assert first["updates"] == alone["updates"] == 2 * updates  # of two layers
    assert all(other["bits"] == first["bits"] for other in others)
    assert first["positions"] == alone["positions"]
    losses = [torch.tensor(answer["losses"], dtype=case.dtype) for answer in (first, alone)]
    torch.testing.assert_close(*losses, rtol=1e-9, atol=0.0)
