"""Phases that are alike in one branch and not in another, and layers of which a model reads attributes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.nn import AdaptivePolyphaseDownsample

SHIFTS = [(0, 1), (1, 0), (1, 1), (3, 2)]


def images(side: int, count: int = 8) -> Tensor:
    """Random ones of 3 channels."""
    draw = torch.Generator().manual_seed(5)
    return torch.randn(count, 3, side, side, generator=draw, dtype=torch.float64)


def farthest(model: nn.Module, x: Tensor) -> float:
    """The largest difference of an answer for a shifted image."""
    with torch.no_grad():
        return max(float((model(x.roll(by, (2, 3))) - model(x)).abs().max()) for by in SHIFTS)


class Branches(nn.Module):
    """Two branches with a stride, of which the first runs first."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), first, second
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.fc(torch.relu(self.first(x) + self.second(x)).mean((2, 3)))


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_pruned_layer_that_chooses_does_not_cost_the_invariance(norm: str) -> None:
    """Its phases are all zero; those of the shortcut are not, and the image that both read tells them apart."""
    model = Branches(nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 1, 2)).double()
    gs.make_shift_invariant(model, images(16), norm=norm)
    with torch.no_grad():
        model.first.layer.weight.zero_()
    assert farthest(model, images(16)) < 1e-12
    x = images(16).float()
    frozen = gs.freeze(model.eval().float(), x[:1])
    assert farthest(frozen, x) < 1e-5
    assert torch.allclose(frozen(x), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "side"),
    [(nn.AvgPool2d(2), 2), (nn.AvgPool2d(2, ceil_mode=True), 2), (nn.MaxPool2d(3, 2, 1), 2)],
    ids=["avg", "ceil", "max"],
)
def test_a_pool_whose_windows_see_the_whole_image_does_not_choose_alone(pool: nn.Module, side: int) -> None:
    """All of its phases are one number up to rounding."""
    model = Branches(pool, nn.Conv2d(8, 8, 3, 2, 1)).double()
    gs.make_shift_invariant(model)
    assert farthest(model, images(side, 32)) < 1e-12


def test_an_image_beside_decides_between_equal_phases() -> None:
    down = AdaptivePolyphaseDownsample(2)
    beside = torch.tensor([[[[1.0, 2.0], [4.0, 3.0]]]])
    _, phase = down(torch.ones(1, 2, 2, 2), beside=beside, return_phase=True)
    assert phase.tolist() == [2]


class Reads(nn.Module):
    """A forward that reads attributes of a layer with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x).mean((2, 3)) / self.c.out_channels * self.c.weight.abs().mean()


@pytest.mark.parametrize("example", [None, images(8)], ids=["without", "with"])
def test_attributes_of_a_layer_are_read_where_it_was(example: Tensor | None) -> None:
    model = Reads().double()
    gs.make_shift_invariant(model, example)
    assert model.c.weight is model.c.layer.weight
    assert farthest(model, images(8)) < 1e-12
    twins = (copy.deepcopy(model), pickle.loads(pickle.dumps(model)))  # noqa: S301 (our own)
    for twin in twins:
        assert torch.equal(twin(images(8)), model(images(8)))
    with pytest.raises(AttributeError, match="no_such"):
        _ = model.c.no_such


class Head(nn.Module):
    """A pool of 4 x 4 pixels, by a module or by a function."""

    def __init__(self, pool: nn.Module | None) -> None:
        super().__init__()
        self.c, self.pool, self.fc = nn.Conv2d(3, 8, 3, 2, 1), pool, nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        y = nn.functional.avg_pool2d(y, 4) if self.pool is None else self.pool(y)
        return self.fc(y)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(4), nn.MaxPool2d(4)], ids=["avg", "max"])
def test_a_pool_as_large_as_the_image_of_the_example_refuses_others(pool: nn.Module) -> None:
    model = Head(pool).double()
    report = gs.make_shift_invariant(model, images(8))
    assert "pools all 4 x 4 pixels; refuses other sizes" in str(report)
    gs.make_shift_invariant(model, images(8))
    for again in (model, copy.deepcopy(model)):
        assert farthest(again, images(8)) < 1e-12
        with pytest.raises(gs.GossamerError, match=r"expected 4 x 4 pixels, .*got 8 x 8; use nn.Adaptive"):
            again(images(16))
    x = images(8).float()
    frozen = gs.freeze(model.eval().float(), x[:1])
    assert torch.allclose(frozen(x), model(x), atol=1e-5)


def test_the_report_says_what_holds_for_one_size_and_what_was_not_tried() -> None:
    said = str(gs.make_shift_invariant(Head(None), images(8)))
    assert "for images as large as the example alone: avg_pool2d() (test_ties.py, line" in said
    assert "not tried" not in said
    said = str(gs.make_shift_invariant(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1))))
    assert said.endswith("not tried out: no example was given")
