"""Plain DistributedDataParallel, as trainers wrap models in: it works on gloo, or says what to use."""

from __future__ import annotations

import pytest

from gossamer.rules import Static
from processes import run_ranks
from rank_programs import InStep, compacted_in_a_wrapper, sequential, wrapped_by_hand


def test_ranks_with_the_same_connections_train_as_one_process() -> None:
    first, second = run_ranks(wrapped_by_hand, 2, True)
    alone = sequential(InStep("unstructured", Static(), [[8, 8]], steps=4))
    assert first == second
    assert first == pytest.approx(alone["losses"], rel=1e-4)


def test_ranks_with_other_connections_are_told_to_use_data_parallel() -> None:
    """Rank 0's values arrive, which are not of the connections of rank 1: silence would be the fault."""
    answers = run_ranks(wrapped_by_hand, 2, False)
    assert "TopologyError: SparseLinear" in answers[1]
    assert "gossamer.parallel.data_parallel" in answers[1]


def test_compact_refuses_a_model_in_buckets() -> None:
    """By name, with nothing changed; without the wrapper it does its work."""
    ((said, unchanged, freed),) = run_ranks(compacted_in_a_wrapper, 1)
    assert "DistributedDataParallel" in said
    assert "data_parallel" in said
    assert unchanged
    assert freed > 0
