"""Synchronous training: every rank has the same topology, and together they are one process with the global batch."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from processes import run_ranks
from rank_programs import in_step, many, sequential

EVEN, UNEVEN = [[8, 8]], [[8, 5]]
ACCUMULATED = [[4, 4], [4, 2]]
CASES = [
    ("unstructured", gs.SET(every=4), EVEN),
    ("unstructured", gs.RigL(every=4), EVEN),
    ("unstructured", gs.RigL(every=4), UNEVEN),
    ("unstructured", gs.RigL(every=4), ACCUMULATED),
    ("fanin", gs.SRigL(every=4), ACCUMULATED),
    ("fanin:4", gs.RigL(every=4), UNEVEN),
    ("nm:1:8", gs.SRigL(every=4, gamma=None), UNEVEN),
    ("unstructured", gs.RigL(every=4), ACCUMULATED, "masked"),
]
NAMES = [f"{c[0]}-{c[1].name}-{'-'.join(map(str, c[2]))}-{c[3] if len(c) > 3 else 'packed'}" for c in CASES]


@pytest.fixture(scope="module")
def trained():
    """All cases on two ranks."""
    answers = run_ranks(many, 2, in_step, CASES)
    assert not [answer for rank in answers for answer in rank if isinstance(answer, str)]
    return list(zip(*answers, strict=True))


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_every_rank_has_the_same_bits(trained, number):
    first, second = trained[number]
    assert first["updates"] >= 6
    assert first["positions"] == second["positions"]
    assert first["bits"] == second["bits"]


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_together_they_are_one_process_with_the_global_batch(trained, number):
    alone, first = sequential(*CASES[number]), trained[number][0]
    assert first["updates"] == alone["updates"]
    assert first["positions"] == alone["positions"]
    torch.testing.assert_close(
        torch.tensor(first["losses"]), torch.tensor(alone["losses"]), rtol=1e-4, atol=1e-6
    )
