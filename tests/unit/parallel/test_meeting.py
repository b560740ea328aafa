"""Processes that are started find each other, whatever those before them left in the launcher's store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore

from gossamer.errors import RankError
from gossamer.parallel.meeting import name_of_start


def test_every_start_has_a_name_of_its_own_and_all_ranks_know_it():
    store, names = HashStore(), set()
    for start in range(3):
        store.set("knock/2", "of a process that is gone")
        with ThreadPoolExecutor(3) as ranks:
            told = set(ranks.map(lambda rank: name_of_start(store, rank, 3, 20.0), range(3)))
        assert len(told) == 1
        names |= told
        assert len(names) == start + 1


def test_a_rank_that_does_not_come_is_named():
    with pytest.raises(RankError, match=r"expected 2 processes within 0\.1 seconds, got none for rank 1"):
        name_of_start(HashStore(), 0, 2, 0.1)
