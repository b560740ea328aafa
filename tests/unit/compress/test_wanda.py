"""Wanda: a weight times the norm of what flows into it, by hand and against a plain search, in every scope."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.compress import calibrate
from gossamer.compress.matrices import matrix_of
from gossamer.compress.scores import Task
from gossamer.compress.scores.wanda import Wanda
from gossamer.errors import ConfigError, DensityError, ShapeError
from gossamer.patterns import Pattern
from strategies import PATTERNS, density_near, differences, everything

W = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.1, 0.2, -0.3, 0.4]])
X = torch.tensor([[1.0, 0.0, 2.0, 0.0], [2.0, 1.0, 0.0, 0.1]])


def linear(weight: Tensor) -> nn.Sequential:
    """A model of one layer."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data.copy_(weight)
    return model


def deep() -> nn.Sequential:
    """Three layers."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 8)), nn.ReLU()
    )


def test_scores_and_choice_by_hand() -> None:
    model = linear(W)
    task = Task(model, {"0": model[0]}, {"0": 0.5}, 0.5, gs.FanIn(), [X])
    found = Wanda().of(task)["0"]
    torch.testing.assert_close(
        found.float(), torch.tensor([[2.236068, 2, 1, 0.3], [0.2236068, 0.2, 0.6, 0.04]])
    )
    assert torch.equal(model[0].weight, W)
    gs.prune(model, 0.5, "fanin", score="wanda", data=X)
    assert model[0].to_dense().tolist() == [[1.0, -2.0, 0.0, 0.0], [W[1, 0].item(), 0.0, W[1, 2].item(), 0.0]]
    by_magnitude = linear(W)
    gs.prune(by_magnitude, 0.5, "fanin")
    assert (by_magnitude[0].to_dense() != 0).tolist() == [
        [False, True, False, True],
        [False, False, True, True],
    ]


def test_rows_that_share_inputs_are_scored_by_their_sum() -> None:
    model = linear(W)
    gs.prune(model, 0.5, "fanin:2", score="wanda", data=X)  # sums 2.46, 2.2, 1.6, 0.34
    assert (model[0].to_dense() != 0).tolist() == [[True, True, False, False]] * 2


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_every_pattern_on_convolutions(pattern: Pattern) -> None:
    torch.manual_seed(0)
    channels = {7: 14}.get(pattern.neighbours, 16)
    model = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, groups=2, bias=False))
    conv, x = copy.deepcopy(model[0]), torch.randn(4, channels, 5, 5) * torch.rand(channels, 1, 1) ** 3
    shape = (16, 9 * channels // 2)
    density = density_near(pattern, 0.25, shape)
    norms = calibrate(model, x)["0"].norms.repeat_interleave(8, 0)
    gs.prune(model, density, pattern, score="wanda", data=x)
    layer = model[0]
    kept = matrix_of(layer, layer.weights) != 0
    expected = pattern.project(
        matrix_of(conv, conv.weight.detach()).abs() * norms, layer.capacity, layer.grid
    )
    assert torch.equal(layer.topology.positions, expected)
    assert layer.connections == expected.numel() * layer.grid.members
    assert torch.equal(matrix_of(layer, layer.weights)[kept], matrix_of(conv, conv.weight.detach())[kept])


@pytest.mark.parametrize("order", ["blocks", "layers", "once"])
def test_inputs_come_from_the_layers_pruned_before(order: str) -> None:
    model, x = deep(), torch.randn(32, 8)
    expected = copy.deepcopy(model)  # pruned by hand, layer after layer
    seen = calibrate(model, x)
    for name in ("0", "2.0", "2.1"):
        layer = expected.get_submodule(name)
        norms = (seen if order == "once" else calibrate(expected, x))[name].norms
        best = (layer.weight.abs() * norms).sort(1, descending=True).indices[:, : layer.in_features // 2]
        mask = torch.zeros_like(layer.weight).scatter_(1, best, 1.0)
        layer.weight.data.mul_(mask)
    gs.prune(model, 0.5, "fanin", score=Wanda(order=order), data=x)
    same = [torch.equal(model.get_submodule(n).to_dense(), expected.get_submodule(n).weight) for n in seen]
    assert all(same)


def test_entries_of_one_block_are_looked_at_together() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x).relu())

    torch.manual_seed(0)
    model, x = nn.Sequential(Part(), Part()), torch.randn(16, 8)
    norms = calibrate(model, x)["0.down"].norms  # of the dense model, though 0.up is pruned
    best = (model[0].down.weight.abs() * norms).sort(1, descending=True).indices[:, :8]
    expected = torch.zeros(8, 16, dtype=torch.bool).scatter_(1, best, value=True)
    apart = copy.deepcopy(model)
    gs.prune(model, 0.5, "fanin", score="wanda", data=x)
    gs.prune(apart, 0.5, "fanin", score=Wanda(order="layers"), data=x)
    assert torch.equal(model[0].down.to_dense() != 0, expected)
    assert not torch.equal(apart[0].down.to_dense() != 0, expected)


def test_a_pass_ends_where_nothing_more_is_looked_at() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x

    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), counts := Counts())
    gs.prune(model, 0.5, score="wanda", data=[torch.randn(2, 4)] * 3)
    assert counts.count == 3  # the pass for the order alone


def test_layers_called_several_times_see_every_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(5, 4)
    norms = torch.cat([x, model.layer(x).detach()]).norm(dim=0)
    best = (model.layer.weight.abs() * norms).sort(1, descending=True).indices[:, :2]
    gs.prune(model, 0.5, "fanin", score="wanda", data=x)
    assert (model.layer.to_dense() != 0).nonzero()[:, 1].tolist() == best.sort(1).values.flatten().tolist()


def test_an_error_in_a_later_layer_leaves_the_model_as_it_was() -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x[:, :3] if self.count > 1 else x  # fits in the pass for the order

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), Breaks(), nn.Linear(8, 8), nn.Linear(8, 8))
    before = copy.deepcopy(everything(model))
    with pytest.raises(ShapeError, match=r"calibrate 3: "):
        gs.prune(model, 0.5, score="wanda", data=torch.randn(2, 8))
    assert type(model[0]) is nn.Linear
    assert not differences(before, everything(model))
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("home", ["packed", "masked"])
def test_sparse_layers_lose_more_and_never_at_their_own_density(home: str) -> None:
    model, x = deep(), torch.randn(32, 8)
    gs.prune(model, 0.5, "fanin", score="wanda", data=x, home=home)
    half = [model.get_submodule(n).to_dense().detach().clone() for n in ("0", "2.0", "2.1")]
    gs.prune(model, 0.5, score="wanda", data=x)
    assert all(
        torch.equal(a, model.get_submodule(n).to_dense())
        for a, n in zip(half, ("0", "2.0", "2.1"), strict=True)
    )
    gs.prune(model, 0.25, score="wanda", data=x)
    for before, name in zip(half, ("0", "2.0", "2.1"), strict=True):
        after = model.get_submodule(name).to_dense()
        assert int(after.count_nonzero()) == before.numel() // 4
        assert torch.equal(after[after != 0], before[after != 0])


def test_all_layers_ranked_together() -> None:
    model, x = deep(), torch.randn(32, 8)
    report = gs.prune(model, 0.3, score="wanda", data=x, allocation="global")
    size = 8 * 16 + 16 * 16 + 16 * 8
    assert report.connections == size - int(0.7 * size)
    densities = [
        model.get_submodule(n).connections / model.get_submodule(n).weight.numel() for n in ("0", "2.0")
    ]
    assert densities[0] != densities[1]


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ShapeError, match="calibrate 0: input of a linear layer"):
        gs.prune(deep(), 0.5, score="wanda", data=torch.randn(2, 7))
    with pytest.raises(ConfigError, match="order"):
        Wanda(order="all")
    with pytest.raises(ConfigError, match="data="):
        gs.prune(deep(), 0.5, score="wanda")
    with pytest.raises(DensityError, match="prune 0"):
        gs.prune(deep(), 0.01, "fanin", score="wanda", data=torch.randn(2, 8))
