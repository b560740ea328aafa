"""Every registered score under every pattern: exact counts, the best stay, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.compress.scores import scores
from gossamer.nn.sparse import SparseModule
from gossamer.patterns import parse

PATTERNS = ("unstructured", "fanin", "fanin:4", "nm:2:4", "block:4")
SCORES = pytest.mark.parametrize("score", list(scores))
SCOPES = pytest.mark.parametrize("pattern", PATTERNS)


class Net(nn.Module):
    """A convolution, a norm, a residual sum, two linear layers, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.drop = nn.Conv2d(8, 8, 1), nn.Dropout(0.2)
        self.hidden, self.head = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, 4, 5, 5] to [n, 8]."""
        x = self.norm(self.first(x)).relu()
        x = (x + self.second(x)).mean((2, 3))
        return self.head(self.drop(self.hidden(x).relu()))


def net() -> Net:
    """With weights, statistics and modes that are not those of a new one."""
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 4, 5, 5))
    model.eval()
    model.drop.train()
    return model


def data(batches: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets."""
    g = torch.Generator().manual_seed(1)
    return [
        (torch.randn(12, 4, 5, 5, generator=g), torch.randint(8, (12,), generator=g)) for _ in range(batches)
    ]


def pruned(model: nn.Module, score: str, pattern: str, density: float = 0.5, **more: Any) -> Any:
    """The report."""
    one = None if pattern.startswith("nm") else density
    return gs.prune(
        model, one, pattern, score=score, data=data(), generator=torch.Generator().manual_seed(3), **more
    )


@SCORES
@SCOPES
def test_counts_are_exact_and_all_else_stays(score: str, pattern: str) -> None:
    """Values are those of before, but for a score that says it changes them; biases, norms, modes, draws stay."""
    model, before = net(), net()
    torch.manual_seed(7)
    report = pruned(model, score, pattern, allocation="uniform")
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(7)))
    for name in ("first", "second", "hidden", "head"):
        layer, dense = getattr(model, name), getattr(before, name)
        assert isinstance(layer, SparseModule)
        assert layer.topology.positions.numel() == parse(pattern).budget(0.5, layer.shape)
        if not scores[score].updates:
            assert torch.equal(layer.to_dense(), dense.weight * (layer.to_dense() != 0))
        assert torch.equal(layer.bias, dense.bias)
    assert report.sparse_density == pytest.approx(0.5, abs=0.01)
    for name, buffer in before.norm.state_dict().items():
        assert torch.equal(buffer, model.norm.state_dict()[name])
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert all(p.grad is None for p in model.parameters())


@SCORES
@SCOPES
@pytest.mark.parametrize("home", ["packed", "masked"])
def test_what_is_pruned_loses_nothing_more_at_the_same_density(score: str, pattern: str, home: str) -> None:
    """Idempotent; and at a lower density what is left was there before."""
    model = net()
    pruned(model, score, pattern, home=home, allocation="uniform")
    state = copy.deepcopy(model.state_dict())
    gs.prune(model, dict.fromkeys(("first", "second", "hidden", "head"), 0.5))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    if pattern.startswith("nm"):
        return
    masks = {name: getattr(model, name).topology.mask() for name in ("first", "second", "hidden")}
    gs.prune(model, 0.3, allocation="uniform")
    for name, mask in masks.items():
        left = getattr(model, name).topology.mask()
        assert bool((left <= mask).all())
        assert 0 < int(left.sum()) < int(mask.sum())


@SCORES
def test_a_density_of_one_changes_nothing(score: str) -> None:
    """Bit for bit, and no layer is replaced."""
    model, before = net(), net()
    gs.prune(model, 1.0, score=score, data=data(), allocation="uniform")
    assert [type(m) for m in model.modules() if not isinstance(m, nn.Linear)] == [
        type(m) for m in before.modules() if not isinstance(m, nn.Linear)
    ]
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@SCORES
def test_a_failing_model_is_left_as_it_was(score: str) -> None:
    """The pattern does not fit the last layer: nothing is replaced, no statistics have moved."""
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 6))
    state, kinds = copy.deepcopy(model.state_dict()), [type(m) for m in model]
    given = [(torch.randn(8, 8), torch.randint(6, (8,)))]
    with pytest.raises(gs.errors.PatternError, match="prune 2"):
        gs.prune(model, 0.5, "fanin:4", score=score, data=given)
    assert [type(m) for m in model] == kinds
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@SCORES
def test_bad_data_is_refused(score: str) -> None:
    """Empty, none at all, not finite; a score that needs data says so."""
    model = net()
    bad = torch.full((2, 4, 5, 5), float("nan"))
    for given in ([], [torch.empty(0, 4, 5, 5)], [(bad, torch.zeros(2).long())], [3], "words"):
        with pytest.raises(gs.GossamerError, match="data="):
            gs.prune(model, 0.5, score=score, data=given)
    if scores[score].needs:
        with pytest.raises(gs.errors.ConfigError, match="expected data="):
            gs.prune(model, 0.5, score=score)
    assert type(model.head) is nn.Linear
