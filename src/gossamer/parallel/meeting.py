"""How the processes of one start find each other in a store that may still hold what earlier starts left."""

from __future__ import annotations

import time
from uuid import uuid4

from torch.distributed.distributed_c10d import Store

from gossamer.errors import RankError

PAUSE = 0.02  # seconds between two looks into the store


def name_of_start(store: Store, rank: int, count: int, time_limit: float) -> str:
    """A name that all processes of this start have, and none of an earlier one had.

    A launcher keeps its store when it starts processes again, and over several hosts their counts of restarts differ.
    So every other rank knocks with a word of its own, and rank 0 answers that word until it sees them all here: words
    of processes that are gone do no harm.

    Args:
        store: Store - the launcher's.
        rank: int - of this process.
        count: int - processes.
        time_limit: float - seconds that rank 0 waits; the others wait as long as the store does.
    Returns:
        str.
    Raises:
        RankError: on rank 0, a rank did not come. On others torch's own error of the store.
    Cost: four messages to the store for each rank, and more while rank 0 waits.
    Example:
        >>> from torch.distributed import HashStore
        >>> name_of_start(HashStore(), 0, 1, 1.0) != name_of_start(HashStore(), 0, 1, 1.0)
        True
    """
    word = uuid4().hex
    if rank:
        store.set(f"knock/{rank}", word)
        name = store.get(f"answer/{word}").decode()
        store.set(f"{name}/{rank}", "here")
        return name
    absent, deadline = set(range(1, count)), time.monotonic() + time_limit
    while absent:
        for other in absent:
            if store.check([knock := f"knock/{other}"]):
                store.set(f"answer/{store.get(knock).decode()}", word)
        absent = {other for other in absent if not store.check([f"{word}/{other}"])}
        if absent and time.monotonic() > deadline:
            raise RankError(
                "connect",
                expected=f"{count} processes within {time_limit:g} seconds",
                got=f"none for rank {min(absent)}",
                hint="see its output; its host must reach this one",
            )
        time.sleep(PAUSE)
    return word
