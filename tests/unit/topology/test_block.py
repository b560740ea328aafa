"""Block sparsity worked out by hand: positions, values, index, budget, product."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, PatternError, TopologyError
from gossamer.patterns import parse

PATTERN = gs.Block(2, 3)
GRID = PATTERN.grid((4, 9))  # 2 x 3 blocks
POSITIONS = torch.tensor([1, 3, 5])  # block (0, 1); blocks (1, 0) and (1, 2)


def test_a_block_lives_as_a_whole() -> None:
    values = torch.arange(1.0, 19.0)
    dense = PATTERN.unpack(values, POSITIONS, GRID)
    assert dense.tolist() == [
        [0, 0, 0, 1, 2, 3, 0, 0, 0],
        [0, 0, 0, 4, 5, 6, 0, 0, 0],
        [7, 8, 9, 0, 0, 0, 13, 14, 15],
        [10, 11, 12, 0, 0, 0, 16, 17, 18],
    ]
    assert torch.equal(PATTERN.pack(dense, POSITIONS, GRID), values)


def test_index_is_row_compressed_on_the_grid_of_blocks() -> None:
    index = PATTERN.encode(POSITIONS, GRID)
    assert index["row_ptr"].tolist() == [0, 1, 3]
    assert index["col"].tolist() == [1, 0, 2]
    assert torch.equal(PATTERN.decode(index, GRID), POSITIONS)


def test_the_best_blocks_have_the_largest_sums() -> None:
    scores = torch.zeros(4, 9)
    scores[0, 0] = 5.0  # block 0: one large score
    scores[2:, 6:] = 1.0  # block 5: six small ones, 6 together
    scores[1, 8] = 4.0  # block 2
    assert PATTERN.project(scores, 2, GRID).tolist() == [0, 5]


def test_budget_counts_blocks() -> None:
    assert PATTERN.budget(0.5, (4, 9)) == 3
    assert PATTERN.budget(0.49, (4, 9)) == 2
    with pytest.raises(DensityError, match="one block"):
        PATTERN.budget(0.1, (4, 9))


def test_product_by_hand() -> None:
    layer = gs.SparseLinear(4, 2, density=0.5, pattern=gs.Block(2), bias=False)
    topology = gs.topology.Topology(gs.Block(2), (2, 4), torch.tensor([1]))
    layer.assign(topology, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    x = torch.tensor([[9.0, 9.0, 10.0, 100.0]], requires_grad=True)
    y = layer(x)
    assert y.tolist() == [[210.0, 430.0]]
    y.backward(torch.tensor([[1.0, 10.0]]))
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0, 31.0, 42.0]]
    assert layer.values.grad is not None
    assert layer.values.grad.tolist() == [10.0, 100.0, 100.0, 1000.0]


def test_names() -> None:
    assert parse("block:4") == gs.Block(4) == gs.Block(4, 4)
    assert parse("block:1:16") == gs.Block(1, 16)
    assert str(gs.Block(16, 1)) == "block:16:1"


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="h from 1 to 32 and w from 1 to 64"):
        gs.Block(33)
    with pytest.raises(ConfigError, match="16 x 65"):
        gs.Block(16, 65)
    with pytest.raises(PatternError, match="divisible by 2 and inputs by 3"):
        PATTERN.grid((4, 8))
    with pytest.raises(TopologyError):
        PATTERN.validate(torch.tensor([3, 1]), GRID)
