"""Group lasso: the proximal step by hand, when it acts, and what becomes of units that are zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gossamer as gs
from gossamer.errors import ConfigError, StateError, TrainingWarning
from gossamer.rules import soft_threshold
from strategies import make_model, train_step

HOMES = pytest.mark.parametrize("home", ["packed", "masked"])
LAYERS = (0, 3)


def test_a_unit_is_shortened_or_zero() -> None:
    """(3, 4) has the norm 5."""
    values = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(
        soft_threshold(values, 1.0), torch.tensor([[2.4, 3.2]], dtype=torch.float64), rtol=1e-15, atol=0
    )
    assert soft_threshold(values, 5.0).tolist() == [[0.0, 0.0]]
    assert soft_threshold(values, 9.0).tolist() == [[0.0, 0.0]]
    assert torch.equal(soft_threshold(values, 0.0), values)
    assert soft_threshold(torch.zeros(1, 3), 0.0).tolist() == [[0.0, 0.0, 0.0]]
    assert soft_threshold(torch.zeros(1, 3), 1.0).tolist() == [[0.0, 0.0, 0.0]]


@given(
    values=st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=4),
    cut=st.floats(1e-6, 10),
    way=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)
def test_it_is_the_proximal_operator_of_the_norm(
    values: list[list[float]], cut: float, way: list[float]
) -> None:
    """No other point has a smaller ``|x - w|^2 / 2 + cut |x|``."""
    given_ = torch.tensor(values, dtype=torch.float64)
    found = soft_threshold(given_, cut)

    def cost(x: torch.Tensor) -> torch.Tensor:
        return (x - given_).square().sum(1) / 2 + cut * x.norm(dim=1)

    for scale in (1.0, 1e-2, 1e-4):
        assert bool((cost(found) <= cost(found + scale * torch.tensor(way)) + 1e-12).all())
    torch.testing.assert_close(found.norm(dim=1), (given_.norm(dim=1) - cut).clamp(min=0))


def test_half_precision_keeps_its_type_and_small_norms() -> None:
    """Squares of 1e-4 are zero in float16; the norm is not."""
    values = torch.full((1, 4), 1e-4, dtype=torch.float16)
    found = soft_threshold(values, 1e-4)
    assert found.dtype == torch.float16
    assert float(found[0, 0]) == pytest.approx(0.5e-4, rel=2e-2)


@HOMES
@pytest.mark.parametrize("scaled", [False, True])
def test_a_step_is_that_of_torch_and_then_the_cut(home: str, scaled: bool) -> None:
    """With momentum, and another learning rate in each layer's group; biases are as without a penalty."""
    ends = []
    for penalized in (True, False):
        model = make_model(home, gs.Block(4), torch.float64)
        groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[3].parameters(), "lr": 0.3}]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
        if penalized:
            gs.attach(model, optimizer, gs.GroupLasso(lam=0.7, scaled=scaled), total_steps=10)
        train_step(model, optimizer, 0, torch.float64)
        ends.append(model)
    for number, rate in zip(LAYERS, (0.1, 0.3), strict=True):
        plain, found = ends[1][number].unit_values(), ends[0][number].unit_values()
        norm = plain.norm(dim=1, keepdim=True)
        expected = plain * (1 - rate * 0.7 * (4.0 if scaled else 1.0) / norm).clamp(min=0)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)
        assert torch.equal(ends[0][number].bias, ends[1][number].bias)


@HOMES
def test_units_that_are_zero_go_for_good_with_their_state(home: str) -> None:
    """At the next update, not before; they may come back until then."""
    model = make_model(home, gs.Block(4), torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = gs.attach(model, optimizer, gs.GroupLasso(every=4, lam=4.0), total_steps=100)
    before = [model[n].topology.positions for n in LAYERS]
    for step in range(3):
        train_step(model, optimizer, step, torch.float64)
    assert all(torch.equal(model[n].topology.positions, p) for n, p in zip(LAYERS, before, strict=True))
    train_step(model, optimizer, 3, torch.float64)
    assert {row.step for row in engine.history} == {4}
    assert all(row.dropped > 0 and row.grown == 0 for row in engine.history)
    for number, old in zip(LAYERS, before, strict=True):
        layer = model[number]
        assert torch.isin(layer.topology.positions, old).all()
        assert bool((layer.unit_values().abs().amax(1) > 0).all())
        momentum = optimizer.state[layer.weights]["momentum_buffer"]
        gone = momentum[layer.connections :] if home == "packed" else momentum[~layer.mask]
        assert int(gone.count_nonzero()) == 0


def test_the_penalty_acts_inside_its_window() -> None:
    """From ``begin`` on, before ``until``; a schedule runs between them."""
    rule = gs.GroupLasso(lam=2.0, begin=10, until=0.5)
    assert [rule.strength(step, 100) for step in (9, 10, 49, 50)] == [0.0, 2.0, 2.0, 0.0]
    falling = gs.GroupLasso(lam=gs.LinearDecay(0.4), begin=10, until=0.5)
    assert [falling.strength(step, 100) for step in (9, 10, 30)] == [0.0, 0.4, pytest.approx(0.2)]


def test_layers_that_did_not_train_are_not_shortened() -> None:
    """Frozen, or without a gradient: as weight decay leaves them."""
    model = make_model("packed", gs.Block(4))
    model[0].values.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, gs.GroupLasso(lam=1.0), total_steps=10)
    before = [model[n].values.detach().clone() for n in LAYERS]
    train_step(model, optimizer, 0)
    assert torch.equal(model[0].values, before[0])
    assert not torch.equal(model[3].values, before[1])


def test_a_step_that_the_scaler_skips_shortens_nothing() -> None:
    """And the step after it does once."""
    model = make_model("packed", gs.Block(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, gs.GroupLasso(lam=1.0), total_steps=10)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = model[0].values.detach().clone()
    for factor, steps in ((float("inf"), 0), (1.0, 1)):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(2, 32)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert engine.step == steps
        assert torch.equal(model[0].values, before) == (steps == 0)


def test_a_ramp_beside_it_prunes_at_updates_of_its_own() -> None:
    """Threshold and penalty together; the ramp's course is that of the ramp."""
    rule = gs.GroupLasso(every=5, lam=0.0, ramp=gs.RampPruning(every=2, drop=0.9, until=0.5))
    assert [step for step in range(1, 20) if rule.due(step, 20)] == [2, 4, 5, 6, 8, 10, 15]
    both, alone = (make_model("packed", gs.Block(4), torch.float64) for _ in range(2))
    for model, law in ((both, rule), (alone, rule.ramp)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        gs.attach(model, optimizer, law, total_steps=20)
        for step in range(20):
            train_step(model, optimizer, step, torch.float64)
    for number in LAYERS:
        assert torch.equal(both[number].topology.positions, alone[number].topology.positions)
        assert both[number].connections < make_model("packed", gs.Block(4))[number].connections


def test_a_penalty_that_leaves_nothing_keeps_a_unit_and_says_so() -> None:
    """The layer is not emptied in silence."""
    model = make_model("packed", gs.Block(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gs.attach(model, optimizer, gs.GroupLasso(every=1, lam=1e4), total_steps=10)
    with pytest.warns(TrainingWarning, match="would lose all its connections: lam is too large"):
        train_step(model, optimizer, 0)
    assert [model[n].topology.positions.numel() for n in LAYERS] == [1, 1]


def test_an_optimizer_without_a_learning_rate_is_refused() -> None:
    """Before anything is shortened."""

    class Plain(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter.sub_(0.1 * parameter.grad)

    model = make_model("packed", gs.Block(4))
    optimizer = Plain(model.parameters())
    gs.attach(model, optimizer, gs.GroupLasso(), total_steps=10)
    with pytest.raises(StateError, match='learning rate of 0: expected an optimizer with "lr"'):
        train_step(model, optimizer, 0)


@pytest.mark.parametrize(
    "wrong", [{"lam": -1.0}, {"lam": float("inf")}, {"lam": "1"}, {"drop": 0.3}, {"ramp": gs.SET()}], ids=str
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """In words."""
    with pytest.raises(ConfigError, match="GroupLasso"):
        gs.GroupLasso(**wrong)
