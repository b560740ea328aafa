"""Parts of a data set for several workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.data import epoch_generator, part_of
from gossamer.errors import ConfigError


@pytest.mark.parametrize(("n", "parts"), [(10, 1), (10, 3), (1442, 5), (7, 7)])
def test_parts_are_equal_contiguous_and_leave_out_less_than_one_each(n, parts):
    samples = list(range(n))
    taken = [samples[part_of(n, part, parts)] for part in range(parts)]
    assert {len(part) for part in taken} == {n // parts}
    assert [sample for part in taken for sample in part] == samples[: n - n % parts]


@pytest.mark.parametrize(("n", "part", "parts"), [(10, 3, 3), (10, -1, 3), (2, 0, 3), (0, 0, 1)])
def test_parts_that_are_not_there_are_refused(n, part, parts):
    with pytest.raises(ConfigError, match="part_of"):
        part_of(n, part, parts)


def test_every_part_and_epoch_has_an_order_of_its_own_and_part_zero_that_of_one_process():
    drawn = {(e, p): epoch_generator(3, e, p).initial_seed() for e in range(6) for p in range(6)}
    assert len({*drawn.values()}) == 36
    alone = int(np.random.SeedSequence([3, 4]).generate_state(1, np.uint32)[0])
    assert drawn[4, 0] == alone
    assert (
        torch.randperm(5, generator=epoch_generator(3, 4)).tolist()
        == torch.randperm(5, generator=epoch_generator(3, 4, 0)).tolist()
    )
    with pytest.raises(ConfigError, match="epoch_generator"):
        epoch_generator(0, 0, -1)
