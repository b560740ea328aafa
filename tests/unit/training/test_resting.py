"""Layers that do not train keep their topology, and the others go on."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import TrainingWarning
from strategies import make_model, sparse_layers, train_step

RULES = pytest.mark.parametrize(
    "rule",
    [gs.RigL(every=2, until=1.0), gs.SRigL(every=2, until=1.0), gs.SET(every=2)],
    ids=lambda r: r.name,
)
HOMES = pytest.mark.parametrize("home", ["packed", "masked"])


def built(home: str, rule: Any, **settings: Any) -> tuple[Any, Any, Any]:
    """Model, optimizer and engine."""
    model = make_model(home, gs.FanIn())
    optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optim, gs.attach(model, optim, rule, total_steps=40, **settings)


def updated(engine: Any, layer: str) -> list[int]:
    """Steps at which a layer was updated."""
    return [row.step for row in engine.history if row.layer == layer]


@HOMES
@RULES
def test_a_layer_frozen_in_mid_training_rests_until_it_trains_again(home: str, rule: Any) -> None:
    """No connection comes or goes in it; the other layer is updated all the while."""
    model, optim, engine = built(home, rule)
    for step in range(12):
        model[0].requires_grad_(not 4 <= step < 8)
        before = model[0].topology.positions
        train_step(model, optim, step)
        if 4 <= step < 8:
            assert torch.equal(model[0].topology.positions, before)
            assert engine.resting == ({} if step == 4 else {"0": "frozen"})
            assert model[0].tape.pairs == []
    assert updated(engine, "0") == [2, 4, 10, 12]
    assert updated(engine, "3") == [2, 4, 6, 8, 10, 12]
    assert engine.step == 12
    assert engine.resting == {}


@RULES
def test_with_every_sparse_layer_frozen_the_engine_only_counts(rule: Any) -> None:
    """A dense head trains on."""
    model = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16), nn.Linear(16, 16))
    gs.sparsify(model, 0.25, gs.FanIn(), skip=["3"])
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=40)
    for _, layer in sparse_layers(model):
        layer.requires_grad_(False)
    for step in range(4):
        train_step(model, optim, step)
    assert (engine.step, engine.history) == (4, [])


@RULES
def test_a_layer_frozen_before_attach_takes_part_once_it_trains(rule: Any) -> None:
    """The optimizer holds it from the start."""
    model = make_model("packed", gs.FanIn())
    model[0].requires_grad_(False)
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=40)
    for step in range(8):
        model[0].requires_grad_(step >= 4)
        train_step(model, optim, step)
    assert updated(engine, "0") == [6, 8]
    assert updated(engine, "3") == [2, 4, 6, 8]


def test_a_frozen_layer_that_joins_the_optimizer_later_says_that_nothing_follows_it() -> None:
    """Its topology would stay without a word."""
    model = make_model("packed", gs.FanIn())
    model[0].requires_grad_(False)
    optim = torch.optim.SGD(model[3].parameters(), lr=0.1)
    gs.attach(model, optim, gs.SET(every=2), total_steps=40)
    train_step(model, optim, 0)
    model[0].requires_grad_(True)
    optim.add_param_group({"params": list(model[0].parameters())})
    with pytest.warns(UserWarning, match="0 was frozen"):
        train_step(model, optim, 1)
    train_step(model, optim, 2)  # said once: warnings are errors here


@RULES
def test_a_layer_taken_out_of_the_optimizer_rests(rule: Any) -> None:
    """It does not train, though it has gradients."""
    model, optim, engine = built("packed", rule)
    optim.param_groups[0]["params"] = [p for p in model.parameters() if p is not model[0].weights]
    for step in range(4):
        train_step(model, optim, step)
    assert engine.resting == {"0": "not in the optimizer"}
    assert (updated(engine, "0"), updated(engine, "3")) == ([], [2, 4])


class Experts(nn.Module):
    """Two layers used in turns."""

    def __init__(self, home: str) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(32, 24), nn.Linear(32, 24), nn.Linear(24, 8)
        gs.sparsify(self, 0.25, gs.FanIn(), home=home)
        self.second = False

    def forward(self, x: Tensor) -> Tensor:
        """Through one of them."""
        return self.head((self.b if self.second else self.a)(x).relu())


@HOMES
@RULES
@pytest.mark.parametrize("to_none", [True, False], ids=["none", "zeros"])
def test_layers_used_in_turns_are_updated_in_turns(home: str, rule: Any, to_none: bool) -> None:
    """One that had no pass in a step rests, also where zero_grad leaves it a gradient of zeros."""
    model = Experts(home)
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optim, rule, total_steps=40)
    for step in range(8):
        model.second = step % 4 > 1
        optim.zero_grad(set_to_none=to_none)
        model(torch.randn(16, 32)).square().mean().backward()
        optim.step()
    assert (updated(engine, "a"), updated(engine, "b")) == ([2, 6], [4, 8])
    assert updated(engine, "head") == [2, 4, 6, 8]
    assert engine.resting == {"a": "no gradient in this step"}


def test_a_layer_that_is_never_used_is_named_once() -> None:
    """After several updates; one that was frozen on purpose is not."""
    model = Experts("packed")
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optim, gs.SET(every=1), total_steps=40)
    model.head.requires_grad_(False)

    def train(steps: int) -> None:
        for _ in range(steps):
            optim.zero_grad()
            model(torch.randn(4, 32)).square().mean().backward()
            optim.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(9)
    with pytest.warns(TrainingWarning, match="topology of b has rested at 10 updates") as caught:
        train(15)
    assert len(caught) == 1


def test_a_neuron_whose_reader_rests_is_not_folded_into_it() -> None:
    """Importance pruning removes both sides of a neuron only where both layers take part."""
    model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform")
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = gs.rules.ImportancePruning(every=1, drop=0.3)
    engine = gs.attach(model, optim, rule, total_steps=10)
    model[2].weights.requires_grad_(False)
    bias, positions = model[2].bias.detach().clone(), model[2].topology.positions
    optim.zero_grad()
    model(torch.randn(4, 16)).sum().backward()
    model[2].bias.grad.zero_()
    optim.step()
    assert [row.layer for row in engine.history] == ["0"]
    assert engine.history[0].active < 12
    assert torch.equal(model[2].topology.positions, positions)
    assert torch.equal(model[2].bias, bias)
